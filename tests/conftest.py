"""How tests run here.

One thread a process: two test processes whose threads wait for each other take most of the time.
No property test fails for being slow, and every run draws the same cases.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported

from hypothesis import settings

settings.register_profile("regionspot", deadline=None, derandomize=True)
settings.load_profile("regionspot")
