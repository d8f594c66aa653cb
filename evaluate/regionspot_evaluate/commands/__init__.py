"""Command lines of evaluation."""
