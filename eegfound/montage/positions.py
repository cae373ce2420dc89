"""Where electrodes are, by name.

Positions come from the recording itself where it has them, else from MNE's
templates. MNE is imported on the first look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from eegfound.base import SpecError, as_channel_info
from eegfound.montage.recording import NameReport, parse_names

#: The 10-05 electrodes on MNE's template head, by its name and by its older name.
TEMPLATE, OLDER_TEMPLATE = "colin27_1005", "standard_1005"
#: A sphere is fitted to digitised electrodes from this number on; with fewer,
#: or with caps that cover little of the head, the fit is not to be trusted.
MIN_FOR_SPHERE = 16
PLAUSIBLE_RADIUS = (0.06, 0.13)


@dataclass(frozen=True)
class Template:
    """Electrode positions of a template head.

    Attributes
    ----------
    positions : mapping of str to ndarray, shape (3,)
        Metres, in head coordinates.
    origin : ndarray, shape (3,)
        Centre of the sphere that fits the electrodes.
    """

    positions: Mapping[str, np.ndarray]
    origin: np.ndarray


def fit_origin(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centre and radius of the sphere nearest to points (least squares).

    Parameters
    ----------
    points : ndarray, shape (n_points, 3)
        At least four points, in metres.

    Returns
    -------
    centre : ndarray, shape (3,)
        Metres.
    radius : float
        Metres.
    """
    # |p|^2 = 2 c.p + (r^2 - |c|^2) is linear in the centre c and the last bracket.
    design = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(design, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(max(solution[3] + centre @ centre, 0.0)))


@lru_cache(maxsize=16)
def template(name: str = TEMPLATE) -> Template:
    """Return an MNE template montage in head coordinates.

    Parameters
    ----------
    name : str
        Name of a montage built into MNE.

    Returns
    -------
    Template
        Positions and the centre of their sphere. The 10-05
        template also has the nasion ``Nz`` and the places given below.

    Notes
    -----
    Three kinds of names are placed by us. ``T1``/``T2``, the anterior temporal
    electrodes of clinical caps, are put at ``FT9``/``FT10``, the 10-10 places
    next to them. ``CB1``/``CB2``, the cerebellar electrodes of Neuroscan caps,
    stand below the occipital row beside ``O1``/``O2``: we take the middle
    between ``PO9`` and ``I1`` (``PO10`` and ``I2``). Both are approximate.
    """
    import mne

    if name == TEMPLATE and name not in mne.channels.get_builtin_montages():
        montage = mne.channels.make_standard_montage(OLDER_TEMPLATE)
    else:
        montage = mne.channels.make_standard_montage(name)
    info = mne.create_info(montage.ch_names, 100.0, "eeg", verbose="ERROR")
    info.set_montage(montage, verbose="ERROR")
    positions = {ch["ch_name"]: np.array(ch["loc"][:3], dtype=float) for ch in info["chs"]}
    origin, radius = fit_origin(np.array(list(positions.values())))
    if name == TEMPLATE:
        fiducials = [d["r"] for d in info["dig"] if int(d["kind"]) == 1 and int(d["ident"]) == 2]
        positions["Nz"] = np.array(fiducials[0], dtype=float)
        positions["T1"], positions["T2"] = positions["FT9"], positions["FT10"]
        for new, (a, b) in {"CB1": ("PO9", "I1"), "CB2": ("PO10", "I2")}.items():
            middle = (positions[a] + positions[b]) / 2 - origin
            positions[new] = origin + radius * middle / np.linalg.norm(middle)
    for position in positions.values():
        position.flags.writeable = False
    return Template(MappingProxyType(positions), origin)


def electrode_positions(
    names: Iterable[str], info: Any = None, *, on_unknown: str = "raise"
) -> dict[str, np.ndarray]:
    """Return where electrodes are.

    Parameters
    ----------
    names : iterable of str
        Electrode names in any spelling that :func:`parse_names` reads.
    info : ChannelInfo | mne.Info | None
        Recording whose digitised positions are used first.
    on_unknown : {"raise", "omit"}
        What to do with names that have no place on the head (bipolar
        derivations, names not understood).

    Returns
    -------
    dict of str to ndarray, shape (3,)
        Position of each name (as given) in metres, in MNE's head coordinates:
        x to the right ear, y to the nose, z upwards. Names without digitised
        position are placed by MNE's 10-05 template, ``E…`` names
        by the template of their Geodesic Sensor Net.

    Raises
    ------
    SpecError
        If a name has no position and ``on_unknown="raise"``.

    Examples
    --------
    >>> from eegfound.montage import electrode_positions
    >>> x, y, z = electrode_positions(["EEG T3-REF"])["EEG T3-REF"]
    >>> bool(x < -0.07)
    True
    """
    if on_unknown not in ("raise", "omit"):
        raise SpecError(f"on_unknown={on_unknown!r} is not one of ('raise', 'omit').")
    report = parse_names(names)
    digitised = _digitised(info)
    result = {}
    for channel in report.channels:
        position = _look_up(channel.raw, channel.name, report, digitised)
        if position is not None:
            result[channel.raw] = position
    missing = [c.raw for c in report.channels if c.raw not in result]
    if missing and on_unknown == "raise":
        raise SpecError(
            f"No position is known for {missing}. Give them in ChannelInfo(positions={{name: "
            "(x, y, z) in metres}), set a montage on the mne.Info, or drop these channels."
        )
    return result


def electrode_directions(names: Iterable[str], info: Any = None) -> dict[str, np.ndarray]:
    """Return unit vectors from the centre of the head to electrodes.

    Spherical splines and nearest electrodes look at directions only, so that
    electrodes digitised on one head and template places can be used together.

    Parameters
    ----------
    names : iterable of str
        Electrode names.
    info : ChannelInfo | mne.Info | None
        Recording whose digitised positions are used first.

    Returns
    -------
    dict of str to ndarray, shape (3,)
        Names without a position are left out.
    """
    report = parse_names(names)
    digitised = _digitised(info)
    centre = _digitised_origin(digitised)
    result = {}
    for channel in report.channels:
        position = _look_up(channel.raw, channel.name, report, digitised)
        if position is None:
            continue
        if _key(channel.raw, channel.name) & digitised.keys():
            origin = centre
        else:
            origin = template(_template_of(channel.name, report)).origin
        vector = position - origin
        result[channel.raw] = vector / np.linalg.norm(vector)
    return result


def _digitised(info: Any) -> dict[str, np.ndarray]:
    """Return the recording's own positions by raw and by canonical name."""
    if info is None:
        return {}
    positions = as_channel_info(info).positions or {}
    found: dict[str, np.ndarray] = {}
    for channel in parse_names(positions).channels:
        point = np.asarray(positions[channel.raw], dtype=float)
        if point.shape == (3,) and np.isfinite(point).all() and point.any():
            found[channel.raw] = point
            if channel.name is not None and channel.kind != "bipolar":
                found.setdefault(channel.name, point)
    return found


def _digitised_origin(digitised: Mapping[str, np.ndarray]) -> np.ndarray:
    standard = template()
    own = [
        np.abs(point - standard.positions[name]).max()
        for name, point in digitised.items()
        if name in standard.positions
    ]
    # Positions that came from the template keep the template's centre.
    if not digitised or (own and max(own) < 1e-4):
        return standard.origin
    points = np.unique(np.array(list(digitised.values())), axis=0)
    if len(points) >= MIN_FOR_SPHERE:
        centre, radius = fit_origin(points)
        if PLAUSIBLE_RADIUS[0] < radius < PLAUSIBLE_RADIUS[1]:
            return centre
    return standard.origin


def _key(raw: str, name: str | None) -> set[str]:
    return {raw, name} if name is not None else {raw}


def _template_of(name: str | None, report: NameReport) -> str:
    is_net = name is not None and name[:1] == "E" and report.net is not None
    return str(report.net) if is_net else TEMPLATE


def _look_up(
    raw: str, name: str | None, report: NameReport, digitised: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    if raw in digitised:
        return digitised[raw]
    if name is None:
        return None
    if name in digitised:
        return digitised[name]
    return template(_template_of(name, report)).positions.get(name)
