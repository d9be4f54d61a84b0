"""For every test: one thread for arithmetic, in this process and in those it starts, and no limit of time.

The networks are so small that a second thread would only wait for the first, and tests run side by side. How
long an example of hypothesis takes says how busy the machine is, and nothing of the code.

There is no garbage in what is imported and collected: it is looked for in what tests make, and not in all of
torch and three thousand tests again and again.
"""

import gc
import os

from hypothesis import HealthCheck, settings

os.environ["OMP_NUM_THREADS"] = "1"
gc.disable()

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Begin to look for garbage, beside what is here by now."""
    gc.freeze()
    gc.enable()
