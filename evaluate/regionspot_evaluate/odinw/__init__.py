"""ODinW: many small data sets in one evaluation, and the mean over them."""
