"""Settings of the tests of both models."""

from __future__ import annotations

import os

# Timing aside, numbers do not depend on it; workers of pytest share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
