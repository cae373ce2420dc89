"""From files of continuous EEG to the windows a model takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eegfound.base import ChannelInfo, SpecError, as_channel_info
from eegfound.models import FoundationModel
from eegfound.preprocessing.prepare import as_model
from eegfound.preprocessing.windowing import Windower, Windows

#: Endings of the files that :func:`find_recordings` looks for in folders.
SUFFIXES = (".edf", ".bdf", ".gdf", ".fif", ".fif.gz", ".set", ".vhdr", ".cnt", ".mff")


def find_recordings(paths: Iterable[str | Path]) -> list[Path]:
    """Return the recordings among files and below folders, sorted.

    Parameters
    ----------
    paths : iterable of path-like
        Files are taken as they are; folders are searched for the endings in
        :data:`SUFFIXES`.

    Returns
    -------
    list of Path
        Each file once.

    Raises
    ------
    SpecError
        If a path does not exist, or a folder holds no recording.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_file():
            found[path] = None
        elif path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if p.name.lower().endswith(SUFFIXES)]
            if not inside:
                raise SpecError(f"{path} holds no recording ({', '.join(SUFFIXES)}).")
            found.update(dict.fromkeys(inside))
        else:
            raise SpecError(f"{path} does not exist.")
    return list(found)


def read_recording(path: str | Path) -> Any:
    """Read any file MNE can read.

    Parameters
    ----------
    path : path-like
        The file (for BrainVision the ``.vhdr``, for EEGLAB the ``.set``).

    Returns
    -------
    mne.io.BaseRaw
        Loaded, in volts.

    Raises
    ------
    SpecError
        If MNE cannot read it; the message carries MNE's reason.
    """
    import mne

    try:
        return mne.io.read_raw(path, preload=True, verbose="error")
    except Exception as error:  # each reader of MNE raises its own kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SpecError(f"{path} cannot be read as a recording: {reason}") from error


def recording_windows(
    raw: Any,
    model: str | FoundationModel,
    *,
    window: float,
    step: float | None = None,
    filtered: bool = True,
    line_freq: float | None = None,
) -> tuple[Windows, ChannelInfo]:
    """Cut a recording into windows, filtered as the model's training data were.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        A recording; it is not changed.
    model : str | FoundationModel
        Whose pass band applies.
    window, step : float
        Length and hop of the windows in seconds; ``step`` defaults to
        ``window``.
    filtered : bool
        Apply the model's pass band, and the notch.
    line_freq : float | None
        Mains frequency in Hz to remove; None takes the model's own.

    Returns
    -------
    windows : Windows
        Data of the EEG channels in volts, with the start of each window.
    info : ChannelInfo
        The EEG channels and their rate.

    Raises
    ------
    SpecError
        If there is no EEG channel, or the recording is shorter than a window.
    """
    spec = as_model(model).input
    picks = as_channel_info(raw.info).eeg_picks()
    if not picks:
        raise SpecError("The recording has no EEG channel (check its channel types).")
    raw = raw.copy().pick([raw.ch_names[i] for i in picks])
    sfreq = float(raw.info["sfreq"])
    duration = raw.n_times / sfreq
    if duration < window:
        raise SpecError(
            f"The recording lasts {duration:.3g} s, less than one window of {window:g} s: "
            "choose a shorter --window (window=)."
        )
    if filtered:
        low, high = spec.band or (None, None)
        raw.filter(
            low or None, high if high is not None and high < 0.45 * sfreq else None,
            picks="all", verbose="error",
        )  # fmt: skip
        notch = spec.notch if line_freq is None else line_freq
        if notch is not None and notch < 0.45 * sfreq:
            raw.notch_filter(notch, picks="all", verbose="error")
    windows = Windower(window=window, step=step).split(raw)
    return windows, as_channel_info(raw.info)
