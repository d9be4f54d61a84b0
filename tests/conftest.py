"""For every test: one thread for arithmetic, and no deadline for examples.

The networks are so small that a second thread would only wait for the first, and tests run side by side. How
long an example takes says how busy the machine is.
"""

import os

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("meshibot", deadline=None)
settings.load_profile("meshibot")
