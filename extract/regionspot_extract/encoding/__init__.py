"""Images to token features."""
