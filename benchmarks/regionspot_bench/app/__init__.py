"""`regionspot bench app`: from a prompt to names on an encoded image."""
