"""Pretraining of the embedded SAM and CLIP, run as `python -m` on this package."""
