"""The colours that regions are drawn in."""

PALETTE = ("#2f7ed8", "#e8710a", "#8e44ad", "#0f9d8a", "#c2185b", "#7a6a00", "#455a64", "#b71c1c")
"""One a region, dark enough to carry white letters."""
