"""From what the user has to what the network takes.

The plan is made once, in ``fit``: which channels are used and where they stand
in the model's vocabulary, which factor takes the unit to the model's, which
rate must be changed. Applying it looks at each epoch alone, so the result for
an epoch does not depend on its neighbours.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from eegfound.base import (
    ChannelInfo,
    SignalWarning,
    SpecError,
    UnitError,
    as_channel_info,
    check_unit,
    presence_mask,
    unit_factor,
)
from eegfound.base.units import PLAUSIBLE_VOLTS
from eegfound.estimators._streaming import blocks
from eegfound.models import FoundationModel, InputSpec


@dataclass(frozen=True)
class InputPlan:
    """How an array becomes the network's input.

    Attributes
    ----------
    spec : InputSpec
        The model's contract.
    info : ChannelInfo
        Names and rate of the array.
    picks : tuple of int
        Channels of the array that are used, in order.
    rows : tuple of int
        Vocabulary row of each used channel (-1 without a vocabulary).
    names : tuple of str
        Name of each used channel as the model knows it.
    positions : ndarray | None, shape (n_used, 3)
        Electrode positions in metres, where the model needs them.
    unit : str
        Unit of the array.
    strict : bool
        False for an unnamed single channel, about which nothing was stated:
        doubts are then warnings instead of errors.
    on_short : {"raise", "pad"}
        What happens to windows shorter than the model's shortest.
    dropped : tuple of str
        Channels left out: unknown to the model, or not EEG.
    aliased : tuple of (str, str)
        Names that were taken for another name of the vocabulary.
    """

    spec: InputSpec
    info: ChannelInfo
    picks: tuple[int, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    positions: np.ndarray | None
    unit: str
    strict: bool
    on_short: str
    dropped: tuple[str, ...] = ()
    aliased: tuple[tuple[str, str], ...] = ()

    def check(self, X: np.ndarray) -> np.ndarray:
        """Check a whole array and return which used channels are recorded.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            The user's array.

        Returns
        -------
        ndarray of bool, shape (n_epochs, n_used)
            Presence of the used channels.
        """
        presence = np.empty((len(X), len(self.picks)), dtype=bool)
        sizes, sample = np.empty(len(X)), []
        count = presence.size
        step = 1 if count <= 256 else count // 256 + 1  # an even sample says as much as the whole
        for part in blocks(X):
            used = self._used(X[part])
            few = used[..., :: max(1, X.shape[-1] // 128)].reshape(presence[part].size, -1)
            sample.append(few[-part.start * presence.shape[1] % step :: step].copy())
            presence[part] = presence_mask(used, first=part.start)
            sizes[part] = self._sizes(used, presence[part])
        self._warn_odd(sizes)
        try:
            check_unit(np.concatenate(sample)[np.newaxis], self.unit)
        except UnitError as error:
            if self.strict:
                raise
            warnings.warn(f"{error} (no info was given, going on)", SignalWarning, stacklevel=4)
        if not self.spec.accepts_missing and not presence.all():
            channel = int(np.argmin(presence.all(axis=0)))
            raise SpecError(
                f"Channel {self.names[channel]!r} is NaN (not recorded) in some epochs, but "
                "this model needs all its electrodes: put MontageMapper(missing='interpolate') "
                "before it."
            )
        self.n_model_times(X.shape[-1], warn=True)
        return presence

    def _used(self, X: np.ndarray) -> np.ndarray:
        """Return the used channels: ``X`` itself where that is all of them, in order."""
        return X if self.picks == tuple(range(X.shape[1])) else X[:, list(self.picks)]

    def _sizes(self, used: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """Return the amplitude of each epoch in volts, in the middle of its channels."""
        few = used[..., :: max(1, used.shape[-1] // 64)]
        spread = np.abs(few - few.mean(axis=-1, keepdims=True)).mean(axis=-1)
        if presence.all():
            return np.median(spread, axis=1) * unit_factor(self.unit)
        spread[~presence] = np.nan
        return np.nanmedian(spread, axis=1) * unit_factor(self.unit)

    def _warn_odd(self, sizes: np.ndarray) -> None:
        """Warn of single epochs whose unit seems to be another one."""
        odd = np.flatnonzero(sizes > 10 * PLAUSIBLE_VOLTS[1])
        if 0 < len(odd) < len(sizes):
            warnings.warn(
                f"{len(odd)} epoch(s), first at index {odd[0]}, have an amplitude of "
                f"{sizes[odd[0]]:.2g} V, which is not EEG: another unit=, or artefacts?",
                SignalWarning,
                stacklevel=5,
            )

    def n_model_times(self, n_times: int, *, warn: bool = False) -> int:
        """Return the length in samples at the model's rate, after cropping or padding.

        Raises
        ------
        SpecError
            If the window is too short and ``on_short="raise"``.
        """
        spec = self.spec
        length = round(n_times * spec.sfreq / self.info.sfreq)
        if length < spec.shortest:
            seconds = spec.shortest / spec.sfreq
            told = (
                f"Windows of {n_times} samples at {self.info.sfreq:g} Hz last "
                f"{n_times / self.info.sfreq:.3g} s, but the model needs at least {seconds:g} s"
            )
            if self.strict and self.on_short == "raise":
                raise SpecError(
                    f"{told}: pass longer windows (tmin/tmax), check info's sfreq, or pass "
                    "on_short='pad' to fill the end with zeros."
                )
            if warn and self.on_short == "raise":
                warnings.warn(f"{told}; the end is filled with zeros.", SignalWarning, stacklevel=5)
            return spec.shortest
        whole = (spec.n_patches(length) - 1) * spec.stride + spec.patch_samples
        whole = max(whole, spec.shortest)
        if warn and length - whole > 0.1 * length:
            warnings.warn(
                f"Windows of {length / spec.sfreq:.3g} s hold {spec.n_patches(length)} whole "
                f"patches of {spec.patch_samples / spec.sfreq:g} s; the last "
                f"{(length - whole) / spec.sfreq:.3g} s are not used.",
                SignalWarning,
                stacklevel=5,
            )
        return whole

    def apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """Return the network's signal for a block of epochs.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            The user's array, checked.
        presence : ndarray of bool, shape (n_epochs, n_used)
            From :meth:`check`.

        Returns
        -------
        ndarray of float32, shape (n_epochs, n_used, n_model_times)
            In the model's unit and rate; NaN where not recorded.
        """
        spec = self.spec
        used, length = self._used(X), self.n_model_times(X.shape[-1])
        same_rate = self.info.sfreq == spec.sfreq
        if same_rate and used.shape[-1] > length:
            used = used[..., :length]
        # Scale in the caller's precision, then go to float32 once: volts in
        # float32 are fine, but volts squared downstream would not be.
        wide = np.result_type(used.dtype, np.float32)
        last = same_rate and spec.reference != "average"
        signal: np.ndarray = np.empty(used.shape, dtype=np.float32 if last else wide)
        factor = unit_factor(self.unit) * spec.volts_to_model
        np.multiply(used, factor, out=signal, dtype=wide, casting="same_kind")
        if spec.reference == "average":
            # A channel on its own is no average: nothing of it would be left.
            if presence.all():
                if presence.shape[1] > 1:
                    signal -= signal.mean(axis=1, keepdims=True)
            else:
                several = presence.sum(axis=1)[:, None, None] > 1
                signal -= np.where(several, np.nanmean(signal, axis=1, keepdims=True), 0)
        if not same_rate:
            from eegfound.preprocessing.resampling import resample

            signal = resample(signal, self.info.sfreq, spec.sfreq, method=spec.resampling)
        if signal.shape[-1] < length:
            filled = np.zeros((*signal.shape[:-1], length), dtype=np.float32)
            filled[..., : signal.shape[-1]] = signal
            filled[~presence] = np.nan
            return filled
        return np.ascontiguousarray(signal[..., :length], dtype=np.float32)


def plan_input(
    model: FoundationModel,
    info: Any,
    *,
    n_channels: int,
    unit: str,
    on_unknown: str = "raise",
    on_short: str = "raise",
) -> InputPlan:
    """Decide how arrays enter a model.

    Parameters
    ----------
    model : FoundationModel
        The model.
    info : ChannelInfo | mne.Info | None
        Names and rate of the array. None is understood for a single channel
        and for an array that has the model's whole vocabulary in its order
        (what ``MontageMapper(target=model)`` returns).
    n_channels : int
        Channels of the array.
    unit : str
        Unit of the array.
    on_unknown : {"raise", "drop"}
        What to do with channels the model does not know.
    on_short : {"raise", "pad"}
        What to do with windows that are too short.

    Returns
    -------
    InputPlan
        The plan.

    Raises
    ------
    SpecError
        If names, rate or number of channels do not fit.
    """
    for name, value, allowed in (
        ("on_unknown", on_unknown, ("raise", "drop")),
        ("on_short", on_short, ("raise", "pad")),
    ):
        if value not in allowed:
            raise SpecError(f"{name}={value!r} is not one of {allowed}.")
    unit_factor(unit)
    spec = model.input
    strict = True
    if info is None:
        info, strict = _implied_info(model, n_channels)
    info = as_channel_info(info)
    if info.n_channels != n_channels:
        raise SpecError(
            f"X has {n_channels} channels (axis 1) but info names {info.n_channels}: "
            f"{list(info.ch_names[:6])}{'…' if info.n_channels > 6 else ''}."
        )
    eeg = info.eeg_picks()
    names = [info.ch_names[i] for i in eeg]
    if not names:
        raise SpecError(
            "info has no EEG channel that is not marked as bad: check its types and bads."
        )
    aliased: tuple[tuple[str, str], ...] = ()
    if spec.vocabulary is None:
        from eegfound.montage import parse_names

        parsed = parse_names(names).channels
        keep = [i for i, channel in enumerate(parsed) if channel.is_eeg]
        left_out = [names[i] for i in range(len(names)) if i not in keep]
        unknown: list[str] = []
        rows = [-1] * len(names)
        known = [channel.name or channel.cleaned for channel in parsed]
    else:
        from eegfound.montage import match_vocabulary

        match = match_vocabulary(names, spec.vocabulary)
        unknown, left_out = list(match.unknown), list(match.left_out)
        rows = [int(r) for r in match.rows]
        known = [spec.vocabulary[r] if r >= 0 else "" for r in rows]
        keep = [i for i, r in enumerate(rows) if r >= 0]
        aliased = tuple((a, b) for a, b in match.aliased)
    if unknown and on_unknown == "raise":
        raise SpecError(
            f"{model.name} does not know the channel(s) {unknown}. Leave them out with "
            "on_unknown='drop', or map the montage first with "
            f"MontageMapper(info=info, target={model.name!r})."
        )
    if info.bads:
        warnings.warn(
            f"info marks {sorted(info.bads)} as bad: treated as not recorded.",
            SignalWarning,
            stacklevel=4,
        )
    if left_out:
        warnings.warn(
            f"The channel(s) {left_out} are not EEG by their names and are left out.",
            SignalWarning,
            stacklevel=4,
        )
    if not keep:
        raise SpecError(f"{model.name} knows none of the channels {names[:8]}.")
    picks = [eeg[i] for i in keep]
    if spec.vocabulary is not None and not spec.accepts_missing:
        keep, picks = _whole_vocabulary(model, keep, picks, rows, known, strict=strict)
    positions = None
    if spec.needs_positions:
        from eegfound.montage import electrode_positions

        found = electrode_positions([known[i] for i in keep], info=info)
        positions = np.asarray([found[known[i]] for i in keep], dtype=np.float32)
    return InputPlan(
        spec=spec,
        info=info,
        picks=tuple(picks),
        rows=tuple(rows[i] for i in keep),
        names=tuple(known[i] for i in keep),
        positions=positions,
        unit=unit,
        strict=strict,
        on_short=on_short,
        dropped=(*unknown, *left_out),
        aliased=aliased,
    )


def _whole_vocabulary(
    model: FoundationModel,
    keep: list[int],
    picks: list[int],
    rows: list[int],
    known: list[str],
    *,
    strict: bool,
) -> tuple[list[int], list[int]]:
    """Bring channels into the order of a fixed layout; none of it may lack.

    A single unnamed channel, about which nothing was stated, stands in for
    every electrode.
    """
    vocabulary = model.input.vocabulary or ()
    if not strict:
        warnings.warn(
            f"{model.name} needs all its {len(vocabulary)} electrodes; the unnamed channel stands "
            "in for each of them.",
            SignalWarning,
            stacklevel=5,
        )
        rows[:], known[:] = range(len(vocabulary)), vocabulary
        return list(range(len(vocabulary))), picks * len(vocabulary)
    order = sorted(range(len(keep)), key=lambda i: rows[keep[i]])
    absent = sorted(set(range(len(vocabulary))) - {rows[i] for i in keep})
    if absent:
        raise SpecError(
            f"{model.name} needs all its {len(vocabulary)} electrodes; "
            f"{[vocabulary[i] for i in absent[:8]]}{'…' if len(absent) > 8 else ''} are missing. "
            f"Put MontageMapper(info=info, target={model.name!r}, missing='interpolate') before it."
        )
    return [keep[i] for i in order], [picks[i] for i in order]


def _implied_info(model: FoundationModel, n_channels: int) -> tuple[ChannelInfo, bool]:
    """Return the info that an array without one must have, and whether it is certain."""
    vocabulary = model.input.vocabulary
    if vocabulary is not None and n_channels == len(vocabulary) and n_channels > 1:
        return ChannelInfo(vocabulary, model.input.sfreq), True
    if n_channels == 1:
        return ChannelInfo((model.input.default_channel or "Cz",), model.input.sfreq), False
    raise SpecError(
        f"X has {n_channels} channels and nothing says which: pass info=epochs.info or "
        "info=eegfound.ChannelInfo(ch_names=[...], sfreq=...)."
        + (
            f" (Without info, {model.name} takes arrays of its {len(vocabulary)} electrodes in "
            "the order of its vocabulary, or a single channel.)"
            if vocabulary
            else ""
        )
    )
