"""Recogniser: SAM, CLIP, a head and a vocabulary."""
