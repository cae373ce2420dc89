"""From a recording as it was read to what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eegfound.base import ChannelInfo, SpecError, check_unit
from eegfound.corpus.reading import Signals
from eegfound.corpus.settings import Settings
from eegfound.corpus.stretches import duration, merged, runs, usable

if TYPE_CHECKING:
    from eegfound.montage import ParsedName

#: Kinds of channels that are kept.
KEPT = ("electrode", "ear", "bipolar")
#: Volts below which a change from sample to sample is none.
STILL = 1e-8
#: Seconds around a sample that is too large which are rejected with it.
MARGIN = 0.25
#: Highest frequency of a filter, as a share of the rate.
_TOP = 0.45


@dataclass
class Cleaned:
    """What is kept of a recording.

    Attributes
    ----------
    data : ndarray of float32, shape (n_channels, n_times)
        Volts; NaN only within rejected stretches.
    info : ChannelInfo
        Names, rate and, where the file brought them, positions.
    rejected : ndarray of int64, shape (n_stretches, 2)
        ``[start, stop)`` in samples of ``data``.
    left_out : list of (str, str)
        Channels that are not kept, and why.
    """

    data: np.ndarray
    info: ChannelInfo
    rejected: np.ndarray
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def usable_seconds(self) -> float:
        """Seconds outside of rejected stretches."""
        return (self.data.shape[1] - duration(self.rejected)) / self.info.sfreq


def named_channels(
    info: ChannelInfo, rename: Mapping[str, str]
) -> tuple[list[int], list[ParsedName], list[tuple[str, str]]]:
    """Choose the channels that are EEG by their names, each electrode once.

    Parameters
    ----------
    info : ChannelInfo
        Names of the file.
    rename : mapping of str to str
        Names to use instead.

    Returns
    -------
    picks : list of int
        Channels that are kept.
    channels : list of ParsedName
        Their names as understood.
    left_out : list of (str, str)
        The others, and why.

    Raises
    ------
    SpecError
        If nothing is left.
    """
    from eegfound.montage import parse_names

    parsed = parse_names([rename.get(name, name) for name in info.ch_names]).channels
    picks: list[int] = []
    left_out, seen = [], set()
    for i, (raw, channel) in enumerate(zip(info.ch_names, parsed)):
        if channel.kind not in KEPT or channel.name is None:
            left_out.append((raw, channel.note or channel.kind))
        elif channel.name in seen:
            left_out.append((raw, f"{channel.name} stands twice"))
        else:
            seen.add(channel.name)
            picks.append(i)
    if not picks:
        raise SpecError(
            f"has no channel whose name is understood ({', '.join(info.ch_names[:6])}, …): pass "
            "rename={name in the file: electrode} (--rename)."
        )
    return picks, [parsed[i] for i in picks], left_out


def stored_name(channel: ParsedName) -> str:
    """Return a tidy name; older spellings stay, since some models tell T3 from T7."""
    name = str(channel.name)
    same = channel.kind == "bipolar" or name.upper() == channel.cleaned.upper()
    return name if same or "-" in channel.cleaned else channel.cleaned


def clean(signals: Signals, settings: Settings, picks: list[int], names: list[str]) -> Cleaned:
    """Scale, filter and resample a recording, and mark what cannot be used.

    Parameters
    ----------
    signals : Signals
        The recording; its data are changed.
    settings : Settings
        What to do.
    picks : list of int
        Channels to keep.
    names : list of str
        Their names.

    Returns
    -------
    Cleaned
        The recording.

    Raises
    ------
    SpecError
        If it is too short, is not EEG in its unit, or nothing of it is left.
    """
    sfreq = signals.info.sfreq
    n_times = signals.data.shape[1]
    if n_times / sfreq < settings.min_seconds:
        raise SpecError(
            f"lasts {n_times / sfreq:.3g} s, less than min_seconds={settings.min_seconds:g}."
        )
    factor = settings.volts(signals.volts)
    rate_out = settings.sfreq or sfreq
    n_out = _n_out(n_times, sfreq, rate_out)
    data = np.empty((len(picks), n_out), dtype=np.float32)
    marks: list[np.ndarray] = []
    for row, pick in enumerate(picks):
        channel = signals.data[pick]
        channel *= factor
        gaps = ~np.isfinite(channel)
        marks.append(_still(channel, gaps, sfreq, settings))
        if gaps.all():
            data[row] = np.nan
            continue
        _fill(channel, gaps)
        channel -= channel.mean()
        out = _filtered(channel, sfreq, rate_out, settings)
        data[row] = out[:n_out]
        scale = rate_out / sfreq
        marks[row] = np.concatenate(
            [_moved(marks[row], scale), _large(data[row], rate_out, settings)]
        )
        for start, stop in _moved(runs(gaps), scale):
            data[row, start:stop] = np.nan
    _check_unit(data, signals.volts, settings)
    file_marks = _moved(
        np.asarray(signals.rejected, dtype=np.int64).reshape(-1, 2), rate_out / sfreq
    )
    raw = [signals.info.ch_names[pick] for pick in picks]
    return _rejected(data, names, raw, marks, file_marks, signals, rate_out, settings)


def _rejected(
    data: np.ndarray, names: list[str], raw: list[str], marks: list[np.ndarray],
    file_marks: np.ndarray, signals: Signals, sfreq: float, settings: Settings,
) -> Cleaned:  # fmt: skip
    """Leave out dead channels, and join what is wrong with the others."""
    n_times = data.shape[1]
    marks = [merged(map(tuple, own), n_times) for own in marks]
    bad = [duration(own) > settings.bad_share * n_times for own in marks]
    if all(bad):
        raise SpecError(
            f"every channel is flat, missing or beyond max_abs for more than "
            f"{settings.bad_share:.0%} of the time: is the unit right (unit=, --unit)?"
        )
    good = [i for i, is_bad in enumerate(bad) if not is_bad]
    left_out = [(names[i], "bad throughout") for i, is_bad in enumerate(bad) if is_bad]
    all_marks = [tuple(m) for i in good for m in marks[i]] + [tuple(m) for m in file_marks]
    rejected = merged(all_marks, n_times)
    # What is left between two artefacts, too short for any window, is no use either.
    short = round(settings.min_seconds * sfreq)
    rest = [tuple(s) for s in usable(rejected, n_times) if s[1] - s[0] < short]
    rejected = merged([*map(tuple, rejected), *rest], n_times)
    if duration(rejected) == n_times:
        raise SpecError(
            f"has no stretch of {settings.min_seconds:g} s without artefacts (max_abs=, "
            "flat_seconds=, min_seconds=)."
        )
    kept = tuple(names[i] for i in good)
    places = [(signals.info.positions or {}).get(raw[i]) for i in good]
    positions = None if None in places else dict(zip(kept, places))
    info = ChannelInfo(kept, sfreq, positions=positions)  # type: ignore[arg-type]
    data = data if len(good) == len(data) else data[good]
    return Cleaned(data, info, rejected, left_out)


def _n_out(n_times: int, sfreq: float, rate_out: float) -> int:
    from eegfound.preprocessing.resampling import resampled_length

    return n_times if rate_out == sfreq else resampled_length(n_times, sfreq, rate_out)


def _still(channel: np.ndarray, gaps: np.ndarray, sfreq: float, settings: Settings) -> np.ndarray:
    """Return where a channel was not recorded, or does not change."""
    found = runs(gaps)
    if settings.flat_seconds is not None:
        at_least = max(2, round(settings.flat_seconds * sfreq))
        still = np.abs(np.diff(channel, prepend=channel[:1])) <= STILL
        found = np.concatenate([found, runs(still, at_least)])
    return found


def _large(channel: np.ndarray, sfreq: float, settings: Settings) -> np.ndarray:
    """Return where a channel is too large, with a margin."""
    if settings.max_abs is None:
        return np.empty((0, 2), dtype=np.int64)
    found = runs(np.abs(channel) > settings.max_abs)
    margin = round(MARGIN * sfreq)
    return found + np.array([-margin, margin])


def _moved(stretches: np.ndarray, scale: float) -> np.ndarray:
    """Return stretches at another rate, rounded outwards."""
    return np.stack(
        [np.floor(stretches[:, 0] * scale), np.ceil(stretches[:, 1] * scale)], axis=1
    ).astype(np.int64)


def _fill(channel: np.ndarray, gaps: np.ndarray) -> None:
    """Bridge gaps by straight lines, so that filters can pass them."""
    if gaps.any():
        there = np.flatnonzero(~gaps)
        channel[gaps] = np.interp(np.flatnonzero(gaps), there, channel[there])


def _filtered(channel: np.ndarray, sfreq: float, rate_out: float, settings: Settings) -> np.ndarray:
    from eegfound.preprocessing.filtering import bandpass, notch
    from eegfound.preprocessing.resampling import resample

    low, high = settings.band or (None, None)
    if high is not None and high > _TOP * sfreq:
        high = None
    if low is not None or high is not None:
        channel = bandpass(channel, sfreq, low, high)
    lines = [line for line in settings.notch if line < _TOP * sfreq]
    if lines:
        channel = notch(channel, sfreq, lines)
    return channel if rate_out == sfreq else resample(channel, sfreq, rate_out)


def _check_unit(data: np.ndarray, volts: bool, settings: Settings) -> None:
    """Refuse amplitudes that cannot be EEG."""
    step = max(1, data.shape[1] // 20_000)
    few = data[:, ::step]
    few = few[:, np.isfinite(few).all(axis=0)]
    check_unit((few if few.size else data[:, ::step])[np.newaxis], "V", name="the recording")
