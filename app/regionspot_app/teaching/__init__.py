"""Teaching a head with corrections: extraction of those pictures, training, and its figures."""
