"""The real EEG that ships with the package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.resources import files

import numpy as np

from eegfound.base import ChannelInfo, SpecError, unit_factor

#: Digest of the bundled file; ``scripts/build_sample.py`` prints it.
SHA256 = "b9782c1c8b626142c09767f446f3e6fc7b7b05daaf7bee90082a1d0058fd41af"
FILE = "eegmat_sample.npz"


def encode_windows(codes: np.ndarray) -> np.ndarray:
    """Return second differences along time, which compress well.

    Parameters
    ----------
    codes : ndarray of int16, shape (..., n_times)
        Signal in steps of the quantisation.

    Returns
    -------
    ndarray of uint8, shape (2, ...)
        All low bytes, then all high bytes (which are nearly constant).
    """
    # Arithmetic modulo 2**16 is exact in both directions, so nothing can overflow.
    delta = codes.astype("<u2")
    for _ in range(2):
        delta = np.diff(delta, axis=-1, prepend=np.zeros_like(delta[..., :1]))
    return np.ascontiguousarray(np.moveaxis(delta[..., np.newaxis].view(np.uint8), -1, 0))


def decode_windows(planes: np.ndarray) -> np.ndarray:
    """Undo :func:`encode_windows`.

    Parameters
    ----------
    planes : ndarray of uint8, shape (2, ...)
        Low and high bytes.

    Returns
    -------
    ndarray of int16
        Signal in steps of the quantisation.
    """
    delta = planes[0].astype("<u2") | (planes[1].astype("<u2") << 8)
    for _ in range(2):
        delta = np.cumsum(delta, axis=-1, dtype="<u2")
    return delta.view("<i2")


def load_sample(
    *, subjects: Iterable[int] | None = None, unit: str = "V"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
    """Load the bundled sample: rest or mental arithmetic, 28 people.

    Taken from the EEGMAT recordings of PhysioNet [1]_, [2]_ (subjects 00 to
    27): 12 windows of 4 s per person and class, spread evenly over each
    recording without overlap, 200 Hz, in steps of 0.25 µV. Nothing was
    selected by content. Order: subject, then rest before arithmetic, then time.

    Parameters
    ----------
    subjects : iterable of int | None
        Only these subjects; None means all.
    unit : str
        Unit of ``X``: ``"V"``, ``"mV"``, ``"uV"``, ``"nV"``.

    Returns
    -------
    X : ndarray of float32, shape (n_windows, 19, 800)
        Signals in ``unit``; 672 windows for all subjects.
    y : ndarray of str, shape (n_windows,)
        ``"rest"`` or ``"arithmetic"``.
    groups : ndarray of int, shape (n_windows,)
        Subject.
    info : ChannelInfo
        19 electrodes of the 10-20 system with the names of the recording
        (``T3``, ``T4``, ``T5``, ``T6``), 200 Hz.

    Raises
    ------
    SpecError
        If a subject is not in the sample, or the file is damaged.

    Notes
    -----
    Distributed under the ODC Attribution License 1.0; the notice stands beside
    the file (``eegfound/datasets/data/ATTRIBUTION.md``).

    References
    ----------
    .. [1] Zyma I, et al. (2019). Electroencephalograms during mental arithmetic
       task performance. Data 4(1):14. doi:10.3390/data4010014
    .. [2] Goldberger A, et al. (2000). PhysioBank, PhysioToolkit, and
       PhysioNet. Circulation 101(23):e215-e220.

    Examples
    --------
    >>> from eegfound.datasets import load_sample
    >>> X, y, groups, info = load_sample(subjects=[0, 1])
    >>> X.shape, sorted(set(y.tolist())), info.sfreq
    ((48, 19, 800), ['arithmetic', 'rest'], 200.0)
    """
    factor = 1 / unit_factor(unit)
    resource = files("eegfound.datasets") / "data" / FILE
    content = resource.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SpecError(f"The bundled file {FILE} is damaged: install eegfound again.")
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        groups = archive["groups"].astype(int)
        y = archive["y"]
        info = ChannelInfo(tuple(archive["ch_names"].tolist()), float(archive["sfreq"]))
        step = float(archive["step"])
        planes = archive["planes"]
    if subjects is not None:
        asked = [int(subject) for subject in subjects]
        missing = sorted(set(asked) - set(groups.tolist()))
        if missing or not asked:
            raise SpecError(f"Subject(s) {missing} are not in the sample: it has 0 to 27.")
        chosen = np.isin(groups, asked)
        planes, y, groups = planes[:, chosen], y[chosen], groups[chosen]
    X = decode_windows(planes).astype(np.float32)
    X *= np.float32(step * factor)
    return X, y, groups, info
