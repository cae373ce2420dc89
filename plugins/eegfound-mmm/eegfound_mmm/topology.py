"""The unified topology of MMM: 62 electrodes, 17 regions, who attends to whom.

Yi, Wang, Ren, Li: "Learning Topology-Agnostic EEG Representations with
Geometry-Aware Modeling", NeurIPS 2023. Every montage is a part of this one
topology: ranks and centres of regions are always those of all 62 electrodes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from eegfound.base import SpecError

Attention = Literal["global", "local"]


class Electrode(NamedTuple):
    """One electrode of the topology.

    Attributes
    ----------
    name : str
        10-10 name in capitals (CB1 and CB2: cerebellar electrodes of SEED's cap).
    region : int
        Number of its region, from 1.
    x, y, z : int
        Position in millimetres: to the right, to the nose, upwards.
    azimuth, elevation : int
        In degrees, as the authors' loader for SEED-IV lists them. CZ's azimuth
        and the elevations of PO5 and PO6 are no place on the head; kept.
    """

    name: str
    region: int
    x: int
    y: int
    z: int
    azimuth: int
    elevation: int


#: In the order of the network's rows, region by region. Positions are the
#: authors' integers: most are the BioSemi-64 montage on a sphere of 87.5 mm; PO5,
#: PO6, CB1 and CB2 are set by hand. Another montage's would change the ranks.
# fmt: off
ELECTRODES: tuple[Electrode, ...] = (
    Electrode("FP1", 1, -27, 83, -3, 18, -2),
    Electrode("FPZ", 1, 0, 87, -3, 0, -2),
    Electrode("FP2", 1, 27, 83, -3, -18, -2),
    Electrode("AF3", 1, -36, 76, 24, 25, 16),
    Electrode("AF4", 1, 36, 76, 24, -25, 16),
    Electrode("F7", 2, -71, 51, -3, 54, -2),
    Electrode("F5", 2, -64, 55, 23, 49, 15),
    Electrode("F3", 2, -48, 59, 44, 39, 30),
    Electrode("F1", 3, -25, 62, 56, 22, 40),
    Electrode("FZ", 3, 0, 63, 61, 0, 44),
    Electrode("F2", 3, 25, 62, 56, -22, 40),
    Electrode("FC1", 3, -33, 33, 74, 45, 58),
    Electrode("FCZ", 3, 0, 34, 81, 0, 67),
    Electrode("FC2", 3, 33, 33, 74, -45, 58),
    Electrode("F4", 4, 48, 59, 44, -39, 30),
    Electrode("F6", 4, 64, 55, 23, -49, 15),
    Electrode("F8", 4, 71, 51, -3, -54, -2),
    Electrode("FT7", 5, -83, 27, -3, 72, -2),
    Electrode("FC5", 5, -78, 30, 27, 69, 18),
    Electrode("FC3", 5, -59, 31, 56, 62, 40),
    Electrode("FC4", 6, 59, 31, 56, -62, 40),
    Electrode("FC6", 6, 78, 30, 27, -69, 18),
    Electrode("FT8", 6, 83, 27, -3, -72, -2),
    Electrode("T7", 7, -87, 0, -3, 90, -2),
    Electrode("C5", 7, -82, 0, 31, 90, 21),
    Electrode("C3", 7, -63, 0, 61, 90, 44),
    Electrode("C1", 8, -34, 0, 81, 90, 67),
    Electrode("CZ", 8, 0, 0, 88, -90, 90),
    Electrode("C2", 8, 34, 0, 81, -90, 67),
    Electrode("C4", 9, 63, 0, 61, -90, 44),
    Electrode("C6", 9, 82, 0, 31, -90, 21),
    Electrode("T8", 9, 87, 0, -3, -90, -2),
    Electrode("TP7", 10, -83, -27, -3, 108, -2),
    Electrode("CP5", 10, -78, -30, 27, 111, 18),
    Electrode("CP3", 10, -59, -31, 56, 118, 40),
    Electrode("CP1", 11, -33, -33, 74, 135, 58),
    Electrode("CPZ", 11, 0, -34, 81, -180, 67),
    Electrode("CP2", 11, 33, -33, 74, -135, 58),
    Electrode("P1", 11, -25, -62, 56, 158, 40),
    Electrode("PZ", 11, 0, -63, 61, -180, 44),
    Electrode("P2", 11, 25, -62, 56, -158, 40),
    Electrode("CP4", 12, 59, -31, 56, -118, 40),
    Electrode("CP6", 12, 78, -30, 27, -111, 18),
    Electrode("TP8", 12, 83, -27, -3, -108, -2),
    Electrode("P7", 13, -71, -51, -3, 126, -2),
    Electrode("P5", 13, -64, -55, 23, 131, 15),
    Electrode("P3", 13, -48, -59, 44, 141, 30),
    Electrode("P4", 14, 48, -59, 44, -141, 30),
    Electrode("P6", 14, 64, -55, 23, -131, 15),
    Electrode("P8", 14, 71, -51, -3, -126, -2),
    Electrode("PO7", 15, -51, -71, -3, 144, -2),
    Electrode("PO5", 15, -40, -76, 24, 155, -2),
    Electrode("CB1", 15, -36, -83, -3, 162, -2),
    Electrode("PO3", 16, -36, -76, 24, 155, 16),
    Electrode("POZ", 16, 0, -82, 31, -180, 21),
    Electrode("PO4", 16, 36, -76, 24, -155, 16),
    Electrode("O1", 16, -27, -83, -3, 162, -2),
    Electrode("OZ", 16, 0, -87, -3, -180, -2),
    Electrode("O2", 16, 27, -83, -3, -162, -2),
    Electrode("PO6", 17, 40, -76, 24, -155, -2),
    Electrode("PO8", 17, 51, -71, -3, -144, -2),
    Electrode("CB2", 17, 36, -83, -3, -162, -2),
)
# fmt: on
VOCABULARY: tuple[str, ...] = tuple(electrode.name for electrode in ELECTRODES)
N_ELECTRODES = len(ELECTRODES)
N_REGIONS = max(electrode.region for electrode in ELECTRODES)
#: Tokens of the whole topology: electrodes, regions S1 to S17, class token.
N_TOKENS = N_ELECTRODES + N_REGIONS + 1
#: 0-based region of each electrode.
REGION_OF = np.array([electrode.region - 1 for electrode in ELECTRODES])


def _with_regions(places: np.ndarray) -> np.ndarray:
    """Append the mean over each region's electrodes."""
    centres = [places[region == REGION_OF].mean(axis=0) for region in range(N_REGIONS)]
    return np.concatenate([places, np.stack(centres)])


def millimetres() -> np.ndarray:
    """Return the positions of the electrodes, ``(62, 3)``, in millimetres."""
    return np.array([(e.x, e.y, e.z) for e in ELECTRODES])


def ranks() -> np.ndarray:
    """Return the rank coordinates of electrodes and regions.

    Per axis the rank of an electrode's position among all distinct positions,
    from 0; of a region the mean over its electrodes' ranks.

    Returns
    -------
    ndarray of float64, shape (79, 3)
        Electrodes, then regions.

    Examples
    --------
    >>> from eegfound_mmm.topology import ranks
    >>> ranks().max(axis=0).tolist()
    [32.0, 28.0, 10.0]
    """
    dense = [np.unique(axis, return_inverse=True)[1] for axis in millimetres().T]
    return _with_regions(np.stack(dense, axis=1).astype(np.float64))


def degrees() -> np.ndarray:
    """Return azimuth and elevation of electrodes and regions.

    Returns
    -------
    ndarray of float64, shape (79, 2)
        Degrees; of a region the plain mean, also across +-180 degrees.
    """
    return _with_regions(np.array([(e.azimuth, e.elevation) for e in ELECTRODES], dtype=float))


def allowed_pairs(attention: Attention = "global") -> np.ndarray:
    """Return which token may attend to which.

    Regions attend to each other, an electrode and its own region to each
    other, the class token to and from everything.

    Parameters
    ----------
    attention : {"global", "local"}
        Electrodes attend to all electrodes, or to those of their region.

    Returns
    -------
    ndarray of bool, shape (80, 80)
        True where attention is allowed (symmetric).

    Examples
    --------
    >>> from eegfound_mmm.topology import allowed_pairs
    >>> int(allowed_pairs().sum()), int(allowed_pairs("local").sum())
    (4416, 822)
    """
    if attention not in ("global", "local"):
        raise SpecError(f"attention={attention!r} is not one of ('global', 'local').")
    region = np.concatenate([REGION_OF, np.arange(N_REGIONS), [-1]])
    allowed = region[:, None] == region[None, :]
    is_region = np.zeros(N_TOKENS, dtype=bool)
    is_region[N_ELECTRODES:-1] = True
    allowed |= is_region[:, None] & is_region[None, :]
    if attention == "global":
        allowed[:N_ELECTRODES, :N_ELECTRODES] = True
    allowed[-1] = allowed[:, -1] = True
    return allowed
