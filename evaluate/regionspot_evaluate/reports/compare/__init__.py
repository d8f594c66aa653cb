"""Heads and other detectors side by side: one protocol, intervals over images."""
