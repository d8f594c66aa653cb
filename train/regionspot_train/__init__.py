"""Stage two: train a fusion head on cached features. No backbone is ever imported."""
