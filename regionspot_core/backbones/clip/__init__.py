"""CLIP towers of open_clip as an image-text encoder."""
