"""Average precision in memory, for validation in training and for evaluation."""
