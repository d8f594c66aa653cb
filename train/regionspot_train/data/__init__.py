"""What a run reads: its caches, mixed and in order."""
