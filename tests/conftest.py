"""For every test: one thread for arithmetic, in this process and in those it starts.

The networks are so small that a second thread would only wait for the first, and tests run side by side.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
