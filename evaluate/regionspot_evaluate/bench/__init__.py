"""`regionspot bench score`: the scorer beside LVIS's own package, in speed, figures and memory."""
