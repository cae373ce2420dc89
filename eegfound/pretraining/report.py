"""A pretraining as one HTML file that needs nothing else."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

#: Keys of a line of the metrics file that are not measures.
NOT_MEASURES = frozenset({"stage", "epoch", "step", "n_windows", "split", "lr", "seconds"})
_TRIVIAL = "_trivial"
#: Names of measures that are better when they are greater.
_GREATER = ("accuracy", "correlation", "r2")


@dataclass(frozen=True)
class Drawing:
    """What can be drawn of a held-out window: see ``Objective.illustrate``.

    Attributes
    ----------
    stage : str
        Stage whose objective made it.
    signal, reconstruction : ndarray | None, shape (n_channels, n_times)
        In the network's unit, or features.
    hidden : ndarray of bool | None, shape (n_channels, n_patches)
        True where the network did not see the signal.
    code_use : ndarray | None, shape (n_codes,)
        How often each code occurs.
    ch_names : tuple of str
        Names of the channels.
    sfreq : float | None
        Rate in Hz; None for features.
    unit : str
        Unit of the signal, for the label of an axis.
    title : str
        Which window it is.
    """

    stage: str
    signal: np.ndarray | None = None
    reconstruction: np.ndarray | None = None
    hidden: np.ndarray | None = None
    code_use: np.ndarray | None = None
    ch_names: tuple[str, ...] = ()
    sfreq: float | None = None
    unit: str = ""
    title: str = ""

    @classmethod
    def of(cls, stage: str, found: Mapping[str, Any], **where: Any) -> Drawing:
        """Take up what ``illustrate`` returned; unknown entries are left out.

        Parameters
        ----------
        stage : str
            Stage whose objective it is.
        found : mapping of str to Tensor or ndarray
            From ``Objective.illustrate``.
        **where : Any
            ``ch_names``, ``sfreq``, ``unit`` and ``title``.

        Returns
        -------
        Drawing
            With plain arrays.
        """
        arrays: dict[str, Any] = {
            name: _array(found[name])
            for name in ("signal", "reconstruction", "hidden", "code_use")
            if found.get(name) is not None
        }
        if "hidden" in arrays:
            arrays["hidden"] = np.atleast_2d(arrays["hidden"]).astype(bool)
        return cls(stage, **arrays, **where)


def _array(values: Any) -> np.ndarray:
    return values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.array(values)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a metrics file.

    Parameters
    ----------
    path : path-like
        JSON lines.

    Returns
    -------
    list of dict
        One per line. A last line that is not complete (the training goes on, or was
        killed) is left out.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number + 1 < len(lines):
                raise
    return rows


def stages_of(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the stages in the order in which they were trained."""
    return list(dict.fromkeys(str(row["stage"]) for row in history))


def measures_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the measures, ``total`` first, without the trivial references."""
    names = dict.fromkeys(
        name
        for row in rows
        for name, value in row.items()
        if name not in NOT_MEASURES and not name.endswith(_TRIVIAL) and _is_number(value)
    )
    return sorted(names, key=lambda name: name != "total")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Reached:
    """What a stage reached on held-out windows, beside what learning nothing reaches.

    Attributes
    ----------
    stage, measure : str
        Which number it is.
    value : float
        On held-out windows, at the end of the stage.
    trivial : float | None
        Of a predictor that learned nothing; None where there is none.
    """

    stage: str
    measure: str
    value: float
    trivial: float | None = None

    @property
    def ratio(self) -> float | None:
        """``value / trivial``."""
        return self.value / self.trivial if self.trivial else None

    @property
    def is_better(self) -> bool | None:
        """Whether the value is on the good side of its reference."""
        if self.trivial is None:
            return None
        if any(word in self.measure for word in _GREATER):
            return self.value > self.trivial
        return self.value < self.trivial


def reached(
    history: Sequence[Mapping[str, Any]], best: Mapping[str, int] | None = None
) -> list[Reached]:
    """Return the held-out measures of every stage at its end.

    Parameters
    ----------
    history : sequence of mapping
        Lines of the metrics file.
    best : mapping of str to int | None
        Pass whose weights were kept, by stage, where it was not the last one.

    Returns
    -------
    list of Reached
        Empty for stages without held-out windows.
    """
    found = []
    for stage in stages_of(history):
        valid = [r for r in history if r["stage"] == stage and r.get("split") == "valid"]
        if not valid:
            continue
        kept = (best or {}).get(stage)
        last = next((r for r in reversed(valid) if r.get("epoch") == kept), valid[-1])
        for name in measures_of([last]):
            trivial = last.get(f"{name}{_TRIVIAL}")
            found.append(Reached(stage, name, float(last[name]), trivial))
    return found


def write_report(
    path: str | os.PathLike[str],
    history: Sequence[Mapping[str, Any]],
    *,
    facts: Mapping[str, Any],
    drawings: Sequence[Drawing] = (),
    outcome: Sequence[Reached] | None = None,
) -> Path:
    """Write the report.

    Parameters
    ----------
    path : path-like
        HTML file to write.
    history : sequence of mapping
        Lines of the metrics file (:func:`read_metrics`).
    facts : mapping
        Plain data, all of it optional: ``model``, ``size``, ``summary``, ``citation``,
        ``n_parameters``; ``stages`` (list of ``{"name", "summary", "options": {...}}``);
        ``record`` (the contamination record, see
        :class:`eegfound.pretraining.source.WindowSource`); ``held_out`` and ``excluded``
        (lists of subjects); ``run`` (mapping of words to words: seed, precision, device,
        processes); ``files`` and ``versions`` (mappings); ``fingerprint``; ``command``.
    drawings : sequence of Drawing
        Held-out windows.
    outcome : sequence of Reached | None
        For the table; None takes :func:`reached` of the history.

    Returns
    -------
    Path
        The file, which needs no network.
    """
    from jinja2 import Environment

    data = files("eegfound.pretraining") / "data"
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"num": number_text, "words": _words}
    template = environment.from_string((data / "pretraining.html.j2").read_text(encoding="utf-8"))
    text = template.render(
        _context(history, facts, drawings)
        | {"reached": reached(history) if outcome is None else outcome}
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
    return path


def _context(
    history: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], drawings: Sequence[Drawing]
) -> dict[str, Any]:
    names = stages_of(history) or [stage["name"] for stage in facts.get("stages", ())]
    told = {stage["name"]: stage for stage in facts.get("stages", ())}
    record = facts.get("record") or {}
    return {
        "facts": facts,
        "stages": [
            {
                "name": name,
                "summary": told.get(name, {}).get("summary", ""),
                "options": told.get(name, {}).get("options", {}),
                "figures": _stage_figures(
                    [row for row in history if row["stage"] == name],
                    [drawing for drawing in drawings if drawing.stage == name],
                ),
            }
            for name in names
        ],
        "rate": _rate(history, names),
        "datasets": record.get("datasets", ()),
        "record": record,
        "n_steps": sum(
            max((int(r["step"]) for r in history if r["stage"] == name), default=0)
            for name in names
        ),
        "seconds": max((float(r.get("seconds") or 0) for r in history), default=0.0),
    }


def _rate(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    from eegfound.benchmark.figures import as_svg
    from eegfound.pretraining.report_figures import rate_figure

    figure = rate_figure(history, names)
    return None if figure is None else as_svg(figure)


def _stage_figures(
    rows: Sequence[Mapping[str, Any]], drawings: Sequence[Drawing]
) -> list[dict[str, str]]:
    from eegfound.benchmark.figures import as_svg
    from eegfound.pretraining import report_figures as figures

    drawn: list[tuple[str, str, Any]] = [
        (
            "Losses and measures",
            "Training: batches as they came. Held out: windows of subjects that were not trained "
            "on. Trivial: what a predictor reaches on them that learned nothing.",
            figures.curves_figure(rows, measures_of(rows)),
        )
    ]
    for drawing in drawings:
        title = f"Held-out window{': ' + drawing.title if drawing.title else ''}"
        what = "What the network made of it" if drawing.reconstruction is not None else "As it came"
        drawn.append((title, f"{what}, after training.", figures.signal_figure(drawing)))
    drawn.append(
        ("What is hidden", "Patches that the network did not see, one panel per window.",
         figures.mask_figure(drawings))
    )  # fmt: skip
    counts = _code_use(drawings)
    if counts is not None:
        used = int((counts > 0).sum())
        caption = (
            f"{used} of {len(counts)} codes occur among {int(counts.sum())} held-out patches; "
            f"perplexity {figures.perplexity(counts):.1f}. Few patches cannot show many codes."
        )
        drawn.append(("Use of the codebook", caption, figures.code_figure(counts)))
    return [
        {"title": title, "caption": caption, "svg": as_svg(figure)}
        for title, caption, figure in drawn
        if figure is not None
    ]


def _code_use(drawings: Sequence[Drawing]) -> np.ndarray | None:
    """Return the occurrences of each code over all windows."""
    found = [d.code_use for d in drawings if d.code_use is not None and d.code_use.size]
    if not found or float(sum(each.sum() for each in found)) == 0:
        return None
    return np.sum(found, axis=0)


def number_text(value: Any, digits: int = 4) -> str:
    """Return a number as people write it; ``-`` where there is none.

    Examples
    --------
    >>> from eegfound.pretraining.report import number_text
    >>> number_text(0.123456), number_text(None), number_text(1e-7)
    ('0.1235', '-', '1e-07')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.{digits}g}"


def _words(value: Any) -> str:
    """Return plain data as words: lists with commas, mappings as ``name value``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple | set):
        return ", ".join(_words(item) for item in value) or "none"
    return "none" if value is None else str(value)
