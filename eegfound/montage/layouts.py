"""Named sets of electrodes, and the union of several recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, ModelNotFoundError, SpecError, as_channel_info
from eegfound.models import get_model, registry
from eegfound.montage.recording import parse_names
from eegfound.montage.tables import EAR_NAMES, EXTRA_NAMES, LAYOUTS, TEN_FIVE


@dataclass(frozen=True)
class Layout:
    """A named, ordered set of electrodes.

    Parameters
    ----------
    name : str
        What to call it.
    ch_names : sequence of str
        Electrodes in order, in the spelling that outputs will have.
    coordinates : mapping of str to (x, y, z) | None
        Positions in metres (head coordinates) of electrodes whose place is
        not known by name.

    Raises
    ------
    SpecError
        If an electrode stands twice or there is none.

    Examples
    --------
    >>> from eegfound.montage import get_layout
    >>> layout = get_layout("1020-19")
    >>> layout.n_channels, layout.info(sfreq=200).sfreq
    (19, 200.0)
    """

    name: str
    ch_names: tuple[str, ...]
    coordinates: Mapping[str, Sequence[float]] | None = field(
        default=None, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if isinstance(self.ch_names, str):
            raise SpecError(
                f"ch_names must be a sequence of names, got the string {self.ch_names!r}."
            )
        object.__setattr__(self, "ch_names", tuple(str(name) for name in self.ch_names))
        upper = [name.upper() for name in self.ch_names]
        twice = sorted({n for n in self.ch_names if upper.count(n.upper()) > 1})
        if twice or not upper:
            told = f"names {twice} twice" if twice else "has no electrodes"
            raise SpecError(f"Layout {self.name!r} {told}.")

    @property
    def n_channels(self) -> int:
        """Number of electrodes."""
        return len(self.ch_names)

    def __len__(self) -> int:
        return len(self.ch_names)

    def info(self, sfreq: float) -> ChannelInfo:
        """Return the channel facts of an array in this layout.

        Parameters
        ----------
        sfreq : float
            Sampling rate of the array in Hz.

        Returns
        -------
        ChannelInfo
            Names of the layout and the rate.
        """
        return ChannelInfo(self.ch_names, sfreq, positions=self.coordinates)

    def positions(self) -> dict[str, np.ndarray]:
        """Return the position of each electrode that has one (metres, head coordinates)."""
        from eegfound.montage.positions import electrode_positions

        info = self.info(sfreq=100) if self.coordinates else None
        return electrode_positions(self.ch_names, info, on_unknown="omit")


def list_layouts() -> list[str]:
    """Return the names of the layouts that come with the suite and its plugins.

    Montages built into MNE and models (for their vocabulary) can be named too.
    """
    return sorted({*LAYOUTS, *registry.contributions("eegfound_layouts")})


def get_layout(target: Any) -> Layout:
    """Return the layout that ``target`` means.

    Parameters
    ----------
    target : Layout | str | sequence of str | ChannelInfo | mne.Info
        A layout, the name of a layout, of a model (its vocabulary) or of a
        montage built into MNE, electrode names, or a recording's info.

    Returns
    -------
    Layout
        Ordered electrodes.

    Raises
    ------
    SpecError
        If nothing of that name is known, or the model takes any electrodes.

    Examples
    --------
    >>> from eegfound.montage import get_layout
    >>> get_layout(["C3", "Cz", "C4"]).ch_names
    ('C3', 'Cz', 'C4')
    """
    if isinstance(target, Layout):
        return target
    if isinstance(target, str):
        return _named(target)
    if isinstance(target, Iterable) and not isinstance(target, Mapping):
        names = tuple(target)
        if all(isinstance(name, str) for name in names):
            return Layout(f"{len(names)} electrodes", names)
    info = as_channel_info(target)
    picks = info.eeg_picks()
    return Layout("recording", tuple(info.ch_names[i] for i in picks), coordinates=info.positions)


def _named(name: str) -> Layout:
    contributed = registry.contributions("eegfound_layouts")
    if name in LAYOUTS:
        return Layout(name, LAYOUTS[name])
    if name in contributed:
        return Layout(name, tuple(contributed[name]))
    try:
        model = get_model(name)
    except ModelNotFoundError:
        return _from_mne(name)
    if model.input.vocabulary is None:
        raise SpecError(
            f"{model.name} takes any electrodes and has no layout of its own: leave the mapping "
            "out, or name the electrodes (target=['C3', 'Cz', …])."
        )
    return Layout(model.name, model.input.vocabulary)


def _from_mne(name: str) -> Layout:
    import mne

    montages = mne.channels.get_builtin_montages()
    if name not in montages:
        known = [*list_layouts(), *registry.models()]
        close = get_close_matches(name, [*known, *montages], n=1)
        raise SpecError(
            f"target={name!r} is neither a layout ({', '.join(list_layouts())}), an installed "
            f"model ({', '.join(registry.models()) or 'none'}) nor a montage built into MNE."
            + (f" Did you mean {close[0]!r}?" if close else "")
        )
    from eegfound.montage.positions import template

    positions = template(name).positions
    names = tuple(mne.channels.make_standard_montage(name).ch_names)
    # Names that mean a place by themselves need no coordinates from another template head.
    standard = {*TEN_FIVE, *EAR_NAMES, *EXTRA_NAMES}
    parsed = parse_names(names)
    by_name = parsed.net is None and all(n in standard for n in parsed.names)
    return Layout(name, names, None if by_name else {n: tuple(positions[n]) for n in names})


def union_layout(*infos: Any, name: str = "union") -> Layout:
    """Return the layout that holds all electrodes of several recordings.

    Parameters
    ----------
    *infos : ChannelInfo | mne.Info | Layout | sequence of str
        Recordings (or layouts) to unite.
    name : str
        Name of the result.

    Returns
    -------
    Layout
        Canonical names, front to back and left to right, then electrodes
        outside the 10-05 system and bipolar derivations. The order of
        ``infos`` does not matter for 10-05 names. Channels that are no EEG
        (ECG, triggers) are left out.

    Raises
    ------
    SpecError
        If a name is not understood.

    Examples
    --------
    >>> from eegfound import ChannelInfo, union_layout
    >>> a = ChannelInfo(["EEG Fp1-REF", "EEG T3-REF", "ECG"], sfreq=200)
    >>> b = ChannelInfo(["T7..", "Cz..", "Fp2."], sfreq=160)
    >>> union_layout(a, b).ch_names
    ('Fp1', 'Fp2', 'T7', 'Cz')
    """
    if not infos:
        raise SpecError("union_layout needs at least one info: union_layout(info_a, info_b).")
    seen: dict[str, str | None] = {}
    coordinates: dict[str, Sequence[float]] = {}
    for info in infos:
        layout = get_layout(info)
        report = parse_names(layout.ch_names)
        if report.unknown:
            raise SpecError(
                f"Channel name(s) {report.unknown} are not understood. Rename them to 10-20 names "
                "(raw.rename_channels), mark them by type (raw.set_channel_types), or drop them."
            )
        for channel in report.channels:
            if channel.name is None:
                continue
            seen.setdefault(channel.name, channel.equivalent)
            if layout.coordinates and channel.raw in layout.coordinates:
                coordinates.setdefault(channel.name, layout.coordinates[channel.raw])
    # A net electrode at a 10-10 place that another cap has is that electrode.
    names = [n for n, equivalent in seen.items() if equivalent is None or equivalent not in seen]
    if not names:
        raise SpecError("None of the channels is EEG: there is no electrode to unite.")
    order = {n: i for i, n in enumerate((*TEN_FIVE, *EAR_NAMES, *EXTRA_NAMES))}
    names.sort(key=lambda n: order.get(n, len(order)))
    known = {*order}
    own = {n: coordinates[n] for n in names if n in coordinates and n not in known}
    return Layout(name, tuple(names), own or None)
