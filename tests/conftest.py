"""How property tests run here: no test fails for being slow, and every run draws the same cases."""

from hypothesis import settings

settings.register_profile("regionspot", deadline=None, derandomize=True)
settings.load_profile("regionspot")
