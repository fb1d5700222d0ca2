"""The project: settings, addresses, and what all apps share."""

import os

__version__ = "0.1.0"

# NumPy's threads wait for their next product by running in circles, on the cores that other processes are for. Set
# before anything imports NumPy; our products are small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
