"""Batches of a run: its caches, mixed and in order."""
