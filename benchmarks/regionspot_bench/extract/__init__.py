"""Benchmark of extraction."""
