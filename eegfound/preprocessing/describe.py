"""What a recording needs before a model can take it, in words and as code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from eegfound.base import as_channel_info
from eegfound.models import FoundationModel, InputSpec
from eegfound.preprocessing.prepare import as_model
from eegfound.preprocessing.resampling import resampled_length

#: Share of the model's upper band edge that the recording may lack without a note.
BAND_SLACK = 0.05


@dataclass(frozen=True)
class Preparation:
    """How one recording and one model fit together.

    Attributes
    ----------
    model : str
        Name of the model.
    usable : tuple of (str, str)
        Channels the model can take: name in the recording, name in the model.
    aliased : tuple of (str, str)
        Those among ``usable`` that go by another name in the model (T3 as T7).
    unknown : tuple of str
        EEG channels that the model does not know; they are dropped.
    left_out : tuple of str
        Channels that are no EEG.
    n_electrodes : int | None
        Electrodes the model knows; None when it takes any.
    missing : {"nan", "interpolate"}
        What is done about electrodes that the recording lacks.
    sfreq, model_sfreq : float
        Rates of the recording and of the model in Hz.
    band : tuple of float | None
        Band in Hz of the data that the model was trained on.
    band_covered : bool
        Whether the recording's rate can carry that band.
    line_freq : float | None
        Mains frequency removed from the training data.
    unit : str
        Unit of the network's input; volts are converted by the estimators.
    n_times : int | None
        Samples per window at the recording's rate, as asked.
    min_seconds, max_seconds : float | None
        Shortest and longest window of one forward pass.
    length : {"fits", "short", "long", "unknown"}
        How windows of ``n_times`` fit. "long" windows are cut into pieces
        whose tokens are pooled.
    problems : tuple of str
        What must be solved before the model can take the recording.
    notes : tuple of str
        What happens on the way, and what may cost quality.
    takes_any_electrode : bool
        Whether the model has no list of electrodes.
    """

    model: str
    usable: tuple[tuple[str, str], ...]
    aliased: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]
    left_out: tuple[str, ...]
    n_electrodes: int | None
    missing: str
    sfreq: float
    model_sfreq: float
    band: tuple[float, float] | None
    band_covered: bool
    line_freq: float | None
    unit: str
    n_times: int | None
    min_seconds: float
    max_seconds: float | None
    length: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    takes_any_electrode: bool = False
    _seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the model can take the recording after the steps of :meth:`code`."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain data (for JSON)."""
        facts = asdict(self)
        facts.pop("_seconds")
        return {"ok": self.ok, **facts}

    def __str__(self) -> str:
        lines = [f"{self.model}: {'can take it' if self.ok else 'cannot take it as it is'}"]
        lines += [f"  problem: {text}" for text in self.problems]
        lines += [f"  {text}" for text in self.notes]
        return "\n".join(lines)

    def code(
        self, path: str = "recording.edf", *, window: float | None = None,
        duration: float | None = None,
    ) -> str:  # fmt: skip
        """Return Python code that takes a recording to embeddings.

        Parameters
        ----------
        path : str
            The recording's file.
        window : float | None
            Length of the windows in seconds; None takes ``n_times``, or about
            four seconds where the model allows it.
        duration : float | None
            Length of the recording in seconds: windows are not longer.

        Returns
        -------
        str
            Code that runs as printed.
        """
        lines = [
            "import mne",
            "import eegfound as ef",
            "",
            f"raw = mne.io.read_raw({str(path)!r}, preload=True)",
        ]
        filters = self._filters()
        if filters:
            lines.append(
                f"raw.filter({filters}, picks='eeg')  # the band {self.model} was trained on"
            )
        if self.line_freq is not None and self.line_freq < self.sfreq / 2:
            lines.append(f"raw.notch_filter({self.line_freq:g}, picks='eeg')  # use your own mains")
        seconds = self._seconds if window is None else window
        if window is None and duration is not None and seconds > duration:
            seconds = max(duration // 1, self.min_seconds)
        missing = "" if self.missing == "nan" else f", missing={self.missing!r}"
        lines += [
            f"windows = ef.Windower(window={seconds:g}).fit_transform(raw)  # volts",
        ]
        if self.takes_any_electrode:  # nothing to map: names and rate go to the encoder
            lines += [
                f"encoder = ef.make_transformer({self.model!r}, info=raw.info)",
                "embeddings = encoder.fit_transform(windows)",
            ]
        else:
            lines += [
                f"front = ef.prepare_for({self.model!r}, raw.info{missing})",
                f"encoder = ef.make_transformer({self.model!r})",
                "embeddings = encoder.fit_transform(front.fit_transform(windows))",
            ]
        return "\n".join(lines) + "\n"

    def _filters(self) -> str:
        if self.band is None:
            return ""
        low, high = self.band
        # MNE's filter needs room between the edge and the Nyquist frequency.
        high_text = f"{high:g}" if high < 0.45 * self.sfreq else "None"
        low_text = f"{low:g}" if low > 0 else "None"
        return "" if low_text == high_text == "None" else f"{low_text}, {high_text}"


def describe_preparation(
    model: str | FoundationModel, info: Any, n_times: int | None = None
) -> Preparation:
    """Say what a recording needs before a model can take it.

    Parameters
    ----------
    model : str | FoundationModel
        Name of an installed model, or its description.
    info : ChannelInfo | mne.Info
        Names and rate of the recording.
    n_times : int | None
        Samples per window at the recording's rate, if that is decided.

    Returns
    -------
    Preparation
        Facts, problems, notes, and code that does what is needed.

    Examples
    --------
    >>> from eegfound import ChannelInfo
    >>> from eegfound.models import FoundationModel, InputSpec
    >>> from eegfound.preprocessing import describe_preparation
    >>> spec = InputSpec(sfreq=200, patch_samples=200, vocabulary=("T7", "C3"), band=(0.1, 75))
    >>> model = FoundationModel("mini", "an example", spec, "my_plugin:build", {"base": {}}, "base")
    >>> print(describe_preparation(model, ChannelInfo(["T3", "C3", "E300"], sfreq=128)))
    mini: can take it
      2 of 2 electrodes recorded; taken for another name: T3 as T7; not known to the model: E300
      128 Hz is resampled to 200 Hz; the recording carries at most 64 Hz, the model saw 0.1-75 Hz
      volts are converted to uV
    """
    description = as_model(model)
    spec = description.input
    facts = as_channel_info(info)
    picks = [facts.ch_names[i] for i in facts.eeg_picks()]
    usable, aliased, unknown, left_out = _channels(picks, spec)
    left_out += tuple(name for name in facts.ch_names if name not in picks)
    n_electrodes = None if spec.vocabulary is None else len(spec.vocabulary)
    missing = "nan" if spec.accepts_missing else "interpolate"
    covered = spec.band is None or facts.sfreq / 2 >= spec.band[1] * (1 - BAND_SLACK)
    length = _length(spec, facts.sfreq, n_times)

    problems, notes = [], []
    told = f"{len(usable)} channels" if n_electrodes is None else (
        f"{len({known for _, known in usable})} of {n_electrodes} electrodes recorded"
    )  # fmt: skip
    if aliased:
        told += f"; taken for another name: {', '.join(f'{a} as {b}' for a, b in aliased)}"
    if unknown:
        told += f"; not known to the model: {', '.join(unknown)}"
    if left_out:
        told += f"; no EEG: {', '.join(left_out)}"
    notes.append(told)
    if not usable:
        problems.append(
            f"the model knows none of the channels ({', '.join(picks[:8]) or 'no EEG channel'}): "
            "rename them to 10-20 names (raw.rename_channels)"
        )
    elif missing == "interpolate" and n_electrodes and len(usable) < n_electrodes:
        notes.append(
            f"the model needs all {n_electrodes} electrodes; {n_electrodes - len(usable)} are "
            "interpolated from those recorded"
        )
    notes.append(_rate_note(spec, facts.sfreq, covered))
    if n_times is not None:
        _length_note(spec, facts.sfreq, n_times, length, problems, notes)
    notes.append(f"volts are converted to {spec.unit}")
    return Preparation(
        model=description.name,
        usable=usable,
        aliased=aliased,
        unknown=unknown,
        left_out=left_out,
        n_electrodes=n_electrodes,
        missing=missing,
        sfreq=facts.sfreq,
        model_sfreq=spec.sfreq,
        band=spec.band,
        band_covered=covered,
        line_freq=spec.notch,
        unit=spec.unit,
        n_times=n_times,
        min_seconds=spec.shortest / spec.sfreq,
        max_seconds=None if spec.max_samples is None else spec.max_samples / spec.sfreq,
        length=length,
        problems=tuple(problems),
        notes=tuple(notes),
        takes_any_electrode=spec.vocabulary is None,
        _seconds=_good_window(spec, facts.sfreq, n_times if length != "short" else None),
    )


def _channels(names: list[str], spec: InputSpec) -> tuple[Any, Any, Any, Any]:
    """Return usable, aliased, unknown and non-EEG channels."""
    from eegfound.montage import match_vocabulary, parse_names

    if spec.vocabulary is None:
        parsed = parse_names(names).channels
        usable = tuple((c.raw, c.name or c.raw) for c in parsed if c.is_eeg)
        return usable, (), (), tuple(c.raw for c in parsed if not c.is_eeg)
    match = match_vocabulary(names, spec.vocabulary)
    usable = tuple((raw, known) for raw, known in zip(names, match.names) if known is not None)
    return usable, match.aliased, match.unknown, match.left_out


def _length(spec: InputSpec, sfreq: float, n_times: int | None) -> str:
    if n_times is None:
        return "unknown"
    samples = resampled_length(n_times, sfreq, spec.sfreq)
    if samples < spec.shortest:
        return "short"
    return "long" if spec.max_samples is not None and samples > spec.max_samples else "fits"


def _length_note(
    spec: InputSpec, sfreq: float, n_times: int, length: str, problems: list[str], notes: list[str]
) -> None:
    seconds = n_times / sfreq
    if length == "short":
        problems.append(
            f"windows of {seconds:.3g} s are too short: the model needs at least "
            f"{spec.shortest / spec.sfreq:g} s"
        )
    elif length == "long" and spec.max_samples is not None:
        pieces = -(-resampled_length(n_times, sfreq, spec.sfreq) // spec.max_samples)
        notes.append(
            f"windows of {seconds:.3g} s are longer than one pass "
            f"({spec.max_samples / spec.sfreq:g} s): they go through in {pieces} pieces that are "
            "pooled"
        )
    if spec.window_seconds is not None and length != "short":
        low, high = spec.window_seconds
        if not low <= seconds <= high:
            notes.append(
                f"in pretraining the windows had {low:g}-{high:g} s, these have {seconds:.3g} s"
            )


def _rate_note(spec: InputSpec, sfreq: float, covered: bool) -> str:
    text = (
        f"{sfreq:g} Hz is the model's own rate" if sfreq == spec.sfreq
        else f"{sfreq:g} Hz is resampled to {spec.sfreq:g} Hz"
    )  # fmt: skip
    if spec.band is not None and not covered:
        text += (
            f"; the recording carries at most {sfreq / 2:g} Hz, the model saw "
            f"{spec.band[0]:g}-{spec.band[1]:g} Hz"
        )
    return text


def _good_window(spec: InputSpec, sfreq: float, n_times: int | None) -> float:
    """Return a window length in seconds that the model takes without loss."""
    if n_times is not None:
        return n_times / sfreq
    low, high = spec.window_seconds or (0.0, float("inf"))
    patch = spec.patch_samples / spec.sfreq
    longest = float("inf") if spec.max_samples is None else spec.max_samples / spec.sfreq
    wanted = min(max(4.0, low, spec.shortest / spec.sfreq), max(high, patch), longest)
    if spec.stride == spec.patch_samples:  # whole patches, none left over
        wanted = max(round(wanted / patch), 1) * patch
    return max(min(wanted, longest), spec.shortest / spec.sfreq)
