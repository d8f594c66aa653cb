"""Weights of a score fusion, found on classes and images that no head learnt from."""
