"""Data sets as they lie on disk, read to one typed table."""
