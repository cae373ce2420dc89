"""Preprocessing steps on arrays and Epochs, and the front end of a model.

Functions on arrays do the work (:func:`resample`, :func:`bandpass`,
:func:`notch`, :func:`rereference`, :func:`cut_windows`); the Transformers
check rate, length and channels, and call them. A channel that is all NaN was
not recorded and stays NaN.
"""

from eegfound.preprocessing.describe import Preparation, describe_preparation
from eegfound.preprocessing.filtering import BandPass, Notch, bandpass, notch
from eegfound.preprocessing.prepare import prepare_for
from eegfound.preprocessing.recordings import (
    find_recordings,
    read_recording,
    recording_windows,
)
from eegfound.preprocessing.referencing import Rereferencer, rereference
from eegfound.preprocessing.resampling import Resampler, resample
from eegfound.preprocessing.windowing import Windower, Windows, cut_windows

__all__ = [
    "BandPass",
    "Notch",
    "Preparation",
    "Rereferencer",
    "Resampler",
    "Windower",
    "Windows",
    "bandpass",
    "cut_windows",
    "describe_preparation",
    "find_recordings",
    "notch",
    "prepare_for",
    "read_recording",
    "recording_windows",
    "rereference",
    "resample",
]
