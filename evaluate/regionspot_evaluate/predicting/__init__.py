"""Naming the regions of pictures that no annotations tell of."""
