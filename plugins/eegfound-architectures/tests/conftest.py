"""Threads of the tests of our own architectures."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
