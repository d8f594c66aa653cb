"""Benchmark of the cache."""
