"""The frame and the style of every HTML report."""
