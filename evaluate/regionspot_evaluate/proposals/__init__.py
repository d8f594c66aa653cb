"""Boxes to name: their sources and files."""
