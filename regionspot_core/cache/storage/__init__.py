"""Files of a store: reading, writing, claims of parts, their markers."""
