"""Pipelines compared on people they were not trained on, with statistics.

:func:`run_benchmark` is the whole of it; :func:`default_pipelines` builds the
usual contestants.
"""

from eegfound.benchmark.engine import run_benchmark
from eegfound.benchmark.folds import Fold, subject_folds
from eegfound.benchmark.pipelines import default_pipelines
from eegfound.benchmark.report import write_report
from eegfound.benchmark.results import BenchmarkResults

__all__ = [
    "BenchmarkResults",
    "Fold",
    "default_pipelines",
    "run_benchmark",
    "subject_folds",
    "write_report",
]
