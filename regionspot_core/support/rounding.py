"""The one tolerance for values that rounding has taken across a border."""

ROUNDING = 1e-6
"""Share by which a value may be beyond its border: of 1 for scores and shares of an image, of an
image's longer side for pixels. float32 keeps 24 bits, and the sum or product of a few such values
is off by less than this."""
