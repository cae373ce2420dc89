"""Weights that bring recorded electrodes to places without one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: Radius in metres of the sphere on which splines are computed; the weights do
#: not depend on it, MNE only wants lengths that a head can have.
_RADIUS = 0.095


def spline_weights(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return spherical-spline weights, as MNE's ``interpolate_bads`` uses them.

    Parameters
    ----------
    sources : ndarray, shape (n_sources, 3)
        Unit vectors from the centre of the head to the recorded electrodes.
    targets : ndarray, shape (n_targets, 3)
        Unit vectors to the places wanted.

    Returns
    -------
    ndarray, shape (n_targets, n_sources)
        Each row sums to one: a constant potential stays constant.

    References
    ----------
    .. [1] Perrin, F., Pernier, J., Bertrand, O., Echallier, J. F. (1989).
       Spherical splines for scalp potential and current density mapping.
       Electroencephalogr Clin Neurophysiol 72(2):184-187.
       https://doi.org/10.1016/0013-4694(89)90180-6
    """
    if len(targets) == 0:
        return np.zeros((0, len(sources)))
    if len(sources) == 1:  # a spline through one point is that constant
        return np.ones((len(targets), 1))
    # In one order of sources, whatever the order of channels: same bits for permuted caps.
    order = np.lexsort(sources.T)
    ordered = np.ascontiguousarray(sources[order], dtype=np.float64)
    wanted = np.ascontiguousarray(targets, dtype=np.float64)
    weights = np.empty((len(targets), len(sources)))
    weights[:, order] = _mne_weights(ordered.tobytes(), wanted.tobytes())
    return weights


@lru_cache(maxsize=256)
def _mne_weights(sources: bytes, targets: bytes) -> np.ndarray:
    """Let MNE interpolate unit impulses: what comes out are its weights."""
    import mne

    good = np.frombuffer(sources).reshape(-1, 3) * _RADIUS
    bad = np.frombuffer(targets).reshape(-1, 3) * _RADIUS
    names = [f"source{i}" for i in range(len(good))] + [f"target{i}" for i in range(len(bad))]
    info = mne.create_info(names, 100.0, "eeg", verbose="ERROR")
    places = dict(zip(names, np.vstack([good, bad])))
    montage = mne.channels.make_dig_montage(places, coord_frame="head")
    info.set_montage(montage, verbose="ERROR")
    info["bads"] = names[len(good) :]
    impulses = np.vstack([np.eye(len(good)), np.zeros((len(bad), len(good)))])
    evoked = mne.EvokedArray(impulses, info, verbose="ERROR")
    evoked.interpolate_bads(
        reset_bads=False, origin=(0.0, 0.0, 0.0), method={"eeg": "spline"}, verbose="ERROR"
    )
    return evoked.data[len(good) :]


def nearest_sources(sources: np.ndarray, targets: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the index of the source nearest to each target.

    Parameters
    ----------
    sources : ndarray, shape (n_sources, 3)
        Unit vectors to the recorded electrodes.
    targets : ndarray, shape (n_targets, 3)
        Unit vectors to the places wanted.
    names : list of str
        Names of the sources; of equally near ones the first name is taken, so
        that the order of channels does not matter.

    Returns
    -------
    ndarray of int, shape (n_targets,)
        Index into ``sources``.
    """
    angles = np.round(np.arccos(np.clip(targets @ sources.T, -1.0, 1.0)), 6)
    by_name = np.argsort(np.array(names), kind="stable")
    return by_name[np.argmin(angles[:, by_name], axis=1)]
