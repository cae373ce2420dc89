"""From recordings to arrays of windows or trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfound.base import ChannelInfo, SpecError
from eegfound.datasets.recordings import Recording

if TYPE_CHECKING:
    from eegfound.montage import ParsedName


def scalp_channels(recording: Recording) -> Recording:
    """Keep the scalp electrodes, with tidy names.

    Derivations between ears (``A2-A1``), the ECG and other auxiliary inputs
    are no scalp electrodes, whatever type the file gives them.

    Parameters
    ----------
    recording : Recording
        Signals with the names of the file.

    Returns
    -------
    Recording
        Electrodes in the order of the file. ``Fc5.`` is called ``FC5`` and
        ``EEG T3`` is called ``T3``: the older names stay, since some models
        tell them from the newer ones.
    """
    from eegfound.montage import parse_names

    parsed = parse_names(recording.ch_names).channels
    picks = [i for i, channel in enumerate(parsed) if channel.kind == "electrode"]
    return recording.pick(picks, [_tidy(parsed[i]) for i in picks])


def _tidy(channel: ParsedName) -> str:
    name = str(channel.name)
    return name if name.upper() == channel.cleaned.upper() else channel.cleaned


def window_starts(
    n_times: int, length: int, count: int | None = None, *, name: str = "the recording"
) -> np.ndarray:
    """Return where windows that do not overlap begin.

    Parameters
    ----------
    n_times, length : int
        Samples in the recording and in a window.
    count : int | None
        Number of windows, spread evenly from the first to the last sample;
        None means as many as fit, one after the other.
    name : str
        Name of the recording, for the message.

    Returns
    -------
    ndarray of int
        First samples.

    Raises
    ------
    SpecError
        If ``count`` windows do not fit.
    """
    fit = n_times // length
    if count is None:
        return np.arange(fit) * length
    if not 1 <= count <= fit:
        raise SpecError(
            f"windows_per_recording={count}, but {name} has room for {fit} windows of {length} "
            "samples: ask for fewer, or for shorter ones."
        )
    return np.round(np.linspace(0, n_times - length, count)).astype(int)


def samples(seconds: float, sfreq: float, name: str) -> int:
    """Return a duration in samples, at least one."""
    count = round(seconds * sfreq)
    if count < 1:
        raise SpecError(f"{name}={seconds!r} s is less than one sample at {sfreq:g} Hz.")
    return count


@dataclass
class Assembly:
    """Windows of many recordings on their way to ``(X, y, groups, info)``.

    Memory is written once: float32 windows are kept as they are cut.
    """

    ch_names: list[str] | None = None
    sfreq: float | None = None
    windows: list[np.ndarray] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        recording: Recording,
        starts: Sequence[int] | np.ndarray,
        length: int,
        labels: Sequence[str],
        group: Any,
        name: str,
    ) -> None:
        """Cut windows; those that reach beyond the recording are counted as lost."""
        if self.ch_names is None:
            self.ch_names, self.sfreq = list(recording.ch_names), recording.sfreq
        if list(recording.ch_names) != self.ch_names or recording.sfreq != self.sfreq:
            raise SpecError(
                f"{name} has {len(recording.ch_names)} channels at {recording.sfreq:g} Hz, the "
                f"recordings before it {len(self.ch_names)} at {self.sfreq:g} Hz: load them apart, "
                "or name one rate with sfreq=."
            )
        for start, label in zip(starts, labels):
            if start < 0 or start + length > recording.data.shape[1]:
                self.lost[name] = self.lost.get(name, 0) + 1
                continue
            self.windows.append(recording.data[:, start : start + length].astype(np.float32))
            self.labels.append(str(label))
            self.groups.append(group)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, ChannelInfo]:
        """Return ``(X, y, groups, info)``."""
        if not self.windows or self.ch_names is None or self.sfreq is None:
            raise SpecError(
                "No window could be cut: the recordings are shorter than one window, or none of "
                "their events carries a label of this task."
            )
        info = ChannelInfo(tuple(self.ch_names), self.sfreq)
        return np.stack(self.windows), np.array(self.labels), np.array(self.groups), info
