"""`regionspot bench`: what is promised about speed and size, measured side by side in one run."""
