"""Real EEG: a bundled sample, loaders of public datasets, and a bridge to MOABB.

Every loader returns ``(X, y, groups, info)``: float32 windows in volts, labels,
the subject of each window, and the channel facts. Local copies are read from
``path=`` or from the folder named by ``EEGFOUND_DATA``.
"""

from eegfound.datasets.adhd import load_adhd
from eegfound.datasets.cards import DatasetCard
from eegfound.datasets.catalog import get_card, list_datasets, load_dataset
from eegfound.datasets.eegmat import load_eegmat
from eegfound.datasets.eegmmidb import load_eegmmidb
from eegfound.datasets.locate import DatasetNotFoundError, DatasetWarning
from eegfound.datasets.moabb_bridge import load_moabb, moabb_to_arrays
from eegfound.datasets.muse import load_muse
from eegfound.datasets.packed import read_packed
from eegfound.datasets.sample import load_sample
from eegfound.datasets.splits import published_split

__all__ = [
    "DatasetCard",
    "DatasetNotFoundError",
    "DatasetWarning",
    "get_card",
    "list_datasets",
    "load_adhd",
    "load_dataset",
    "load_eegmat",
    "load_eegmmidb",
    "load_moabb",
    "load_muse",
    "load_sample",
    "moabb_to_arrays",
    "published_split",
    "read_packed",
]
