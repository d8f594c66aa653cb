"""Segment Anything as a region encoder."""
