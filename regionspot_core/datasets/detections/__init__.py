"""A detector's results files: their entries block by block, and what may be wrong with them."""
