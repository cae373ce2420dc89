"""What an array cannot say about itself: channel names and sampling rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eegfound.base.exceptions import SpecError

if TYPE_CHECKING:
    import mne

#: Rates below this cannot carry EEG; they are usually kHz typed by mistake.
MIN_SFREQ = 20.0
#: Channel kinds of an ``mne.Info`` that are not EEG and are left out.
NON_EEG_TYPES = frozenset(
    {"eog", "ecg", "emg", "stim", "misc", "resp", "bio", "gsr", "temperature", "syst", "exci",
     "ias", "eyegaze", "pupil", "ref_meg", "mag", "grad"}
)  # fmt: skip


@dataclass(frozen=True)
class ChannelInfo:
    """Channel names and sampling rate of an array of epochs.

    Parameters
    ----------
    ch_names : sequence of str
        One name per channel, in the order of the array's channel axis.
    sfreq : float
        Sampling rate in Hz.
    ch_types : sequence of str | None
        Kind of each channel in MNE's words (``"eeg"``, ``"eog"``, …). None
        means that all channels are EEG.
    bads : sequence of str
        Channels marked as bad; they are treated as not recorded.
    positions : mapping of str to (x, y, z) | None
        Electrode positions in metres (head coordinates). None looks the
        positions up by name where a step needs them.

    Raises
    ------
    SpecError
        If a name stands twice, the lengths differ, or the rate cannot be EEG.

    Examples
    --------
    >>> from eegfound import ChannelInfo
    >>> ChannelInfo(ch_names=["C3", "Cz", "C4"], sfreq=250).n_channels
    3
    """

    ch_names: Sequence[str]
    sfreq: float
    ch_types: Sequence[str] | None = None
    positions: Mapping[str, Sequence[float]] | None = field(default=None, compare=False)
    bads: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.ch_names, str):
            raise SpecError(
                f"ch_names must be a sequence of names, got the string {self.ch_names!r}."
            )
        object.__setattr__(self, "ch_names", tuple(str(name) for name in self.ch_names))
        if self.ch_types is not None:
            object.__setattr__(self, "ch_types", tuple(self.ch_types))
            if len(self.ch_types) != len(self.ch_names):
                raise SpecError(
                    f"ch_types has {len(self.ch_types)} entries for {len(self.ch_names)} ch_names."
                )
        object.__setattr__(self, "bads", tuple(str(name) for name in self.bads))
        if not self.ch_names:
            raise SpecError("ch_names is empty: name every channel of the array.")
        twice = sorted({name for name in self.ch_names if list(self.ch_names).count(name) > 1})
        if twice:
            raise SpecError(f"ch_names lists {twice} more than once.")
        object.__setattr__(self, "sfreq", float(self.sfreq))
        if not self.sfreq >= MIN_SFREQ or self.sfreq == float("inf"):
            raise SpecError(
                f"sfreq={self.sfreq:g} Hz cannot be the rate of an EEG recording; sfreq is in Hz"
                + (f" (did you mean sfreq={self.sfreq * 1000:g}?)." if 0 < self.sfreq < 20 else ".")
            )

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.ch_names)

    def eeg_picks(self) -> list[int]:
        """Return the indices of the channels that are EEG by type and not bad."""
        kinds = self.ch_types or ("eeg",) * self.n_channels
        return [
            i
            for i, (name, kind) in enumerate(zip(self.ch_names, kinds))
            if kind not in NON_EEG_TYPES and name not in self.bads
        ]

    def replace(self, **changes: Any) -> ChannelInfo:
        """Return a copy with some fields changed."""
        fields: dict[str, Any] = {
            "ch_names": self.ch_names,
            "sfreq": self.sfreq,
            "ch_types": self.ch_types,
            "positions": self.positions,
            "bads": self.bads,
        }
        return ChannelInfo(**(fields | changes))


def as_channel_info(info: ChannelInfo | mne.Info | Any) -> ChannelInfo:
    """Read an ``mne.Info``, a :class:`ChannelInfo` or anything alike.

    Parameters
    ----------
    info : ChannelInfo | mne.Info
        Anything with ``ch_names`` and ``sfreq`` as attribute or key.

    Returns
    -------
    ChannelInfo
        The same facts without the MNE dependency.

    Raises
    ------
    SpecError
        If names or rate cannot be read from ``info``.
    """
    if isinstance(info, ChannelInfo):
        return info
    if hasattr(info, "get_channel_types"):  # mne.Info
        positions = {
            ch["ch_name"]: tuple(float(v) for v in ch["loc"][:3])
            for ch in info["chs"]
            if any(ch["loc"][:3]) and all(v == v for v in ch["loc"][:3])
        }
        return ChannelInfo(
            tuple(info["ch_names"]),
            float(info["sfreq"]),
            tuple(info.get_channel_types()),
            positions or None,
            tuple(info["bads"]),
        )
    if isinstance(info, Mapping) and {"ch_names", "sfreq"} <= set(info):
        return ChannelInfo(tuple(info["ch_names"]), float(info["sfreq"]))
    if hasattr(info, "ch_names") and hasattr(info, "sfreq"):
        return ChannelInfo(tuple(info.ch_names), float(info.sfreq))
    raise SpecError(
        "info must be an mne.Info (epochs.info) or eegfound.ChannelInfo(ch_names, sfreq), "
        f"got {type(info).__name__}."
    )
