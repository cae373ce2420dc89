"""``eegfound doctor``: which models can take a recording, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.cli._output import console, print_json, say
from eegfound.cli.listing import Json


def doctor(
    file: Annotated[Path, typer.Argument(help="A recording in any format MNE reads.")],
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    window: Annotated[
        float | None, typer.Option(help="Length of the windows in seconds you have in mind.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say for a recording which models can take it and what must be done first."""
    from eegfound.base import plausible_unit, robust_amplitude, unit_factor
    from eegfound.models import list_models
    from eegfound.montage import parse_names
    from eegfound.preprocessing import describe_preparation, read_recording

    raw = read_recording(file)
    sfreq = float(raw.info["sfreq"])
    eeg = raw.copy().pick("eeg") if "eeg" in raw else raw
    data = eeg.get_data()[:, :: max(1, raw.n_times // 200_000)]
    amplitude = robust_amplitude(data[None])
    unit = plausible_unit(amplitude) if amplitude > 0 else None
    report = parse_names(eeg.ch_names)
    n_times = None if window is None else round(window * sfreq)
    plans = [
        describe_preparation(name, raw.info, n_times)
        for name in ([model] if model else list_models())
    ]
    duration = raw.n_times / sfreq
    facts: dict[str, Any] = {
        "file": str(file),
        "n_channels": len(raw.ch_names),
        "sfreq": sfreq,
        "seconds": duration,
        "median_absolute_amplitude_volts": amplitude,
        "unit_ok": unit == "V",
        "names": report.to_dict(),
    }
    if as_json:
        print_json(
            facts
            | {
                "models": [
                    {**p.to_dict(), "code": p.code(str(file), window=window, duration=duration)}
                    for p in plans
                ]
            }
        )
        return
    say(f"{file}: {facts['n_channels']} channels, {sfreq:g} Hz, {facts['seconds']:.1f} s")
    if unit == "V":
        say(f"Amplitude {amplitude * 1e6:.1f} µV: plausible for EEG.")
    else:
        told = f"Unit: a median absolute amplitude of {amplitude:.2g} is not EEG in volts"
        if unit:
            told += f"; it looks like {unit}: multiply the data by {unit_factor(unit):g}"
        say(f"{told}.")
    say(str(report))
    for plan in plans:
        console.rule(plan.model, align="left")
        say(str(plan))
        if plan.ok:
            print(f"\n{plan.code(str(file), window=window, duration=duration)}")
    if not plans:
        say("No model is installed: pip install eegfound-NAME, one plugin per model.")
