"""Stage three: put the head back behind the frozen models and score what it says."""
