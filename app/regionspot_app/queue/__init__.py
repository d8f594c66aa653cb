"""The queue over the pictures that are offered: what was answered about each, and their order."""
