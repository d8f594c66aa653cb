"""Many heads from one read of the cache."""
