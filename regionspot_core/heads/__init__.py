"""Heads that name regions, their checkpoints, and use on cached features."""
