"""Reading of batches from one store or several."""
