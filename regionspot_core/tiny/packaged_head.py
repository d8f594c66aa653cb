"""The head that the package carries, for the tiny models.

`benchmarks/packaged_head.py` makes it anew.
"""

from __future__ import annotations

from pathlib import Path

PACKAGED_HEAD = Path(__file__).with_name("head")
"""Folder of a head that learnt the demo's world: shapes, textures and colours, and nothing else."""
