"""Which of the mask decoder's output tokens is which."""

from __future__ import annotations

PAPER_TOKEN = 1
"""The region token the paper takes: mask token 0, the one after the IoU token."""
