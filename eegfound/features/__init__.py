"""Classical features of EEG epochs, as functions and as Transformers.

Covariances and tangent space are pyriemann's own; use them directly.
"""

from eegfound.features.band_power import BandPower, band_power
from eegfound.features.bands import CLASSIC_BANDS, DE_BANDS, DE_BANDS_SHARED_EDGES
from eegfound.features.differential_entropy import (
    DifferentialEntropy,
    band_energy,
    differential_entropy,
)
from eegfound.features.smoothing import smooth_random_walk
from eegfound.features.variance import LogVariance, log_variance

__all__ = [
    "CLASSIC_BANDS",
    "DE_BANDS",
    "DE_BANDS_SHARED_EDGES",
    "BandPower",
    "DifferentialEntropy",
    "LogVariance",
    "band_energy",
    "band_power",
    "differential_entropy",
    "log_variance",
    "smooth_random_walk",
]
