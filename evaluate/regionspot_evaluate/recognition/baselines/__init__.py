"""CLIP alone on the regions that a head names, to hold the head against: one file a baseline."""
