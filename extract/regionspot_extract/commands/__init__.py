"""Command lines of extraction."""
