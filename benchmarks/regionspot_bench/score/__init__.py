"""Benchmark of scoring."""
