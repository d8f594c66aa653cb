"""Files of a run's folder."""
