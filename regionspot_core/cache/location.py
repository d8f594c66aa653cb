"""The place of a store, as settings name it."""

from __future__ import annotations

from pathlib import Path

Location = Path | str
"""A folder, or a URL such as ``s3://bucket/path``."""
