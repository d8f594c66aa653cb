"""Stage one: run the frozen models over the images once and keep their tokens."""
