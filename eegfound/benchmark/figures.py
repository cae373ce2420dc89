"""Figures of a benchmark. Every one shows the spread, not the mean alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eegfound.benchmark import reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eegfound.benchmark.results import BenchmarkResults

#: Colors that stay apart for color-blind readers (Okabe and Ito 2008).
COLORS = {"foundation": "#D55E00", "baseline": "#0072B2", "chance": "#7A7A7A"}
_INK, _FAINT = "#222222", "#D9D9D9"
_MAX_PANELS = 6


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _clean(axes: Axes, grid: str = "x") -> None:
    for side in ("top", "right", "left" if grid == "x" else "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=9)
    axes.grid(axis=grid, color=_FAINT, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _finished(results: BenchmarkResults) -> pd.DataFrame:
    table = results.table()
    return table[table["score"].notna()].reset_index(drop=True)


def _rows(axes: Axes, table: pd.DataFrame) -> np.ndarray:
    """Name one row per pipeline, the first on top."""
    y = np.arange(len(table))[::-1]
    names = [reading.label(r["pipeline"], r["transductive"]) for _, r in table.iterrows()]
    axes.set_yticks(y, names)
    axes.set_ylim(-0.7, len(table) - 0.3)
    for tick, kind in zip(axes.get_yticklabels(), table["kind"]):
        tick.set_color(COLORS[kind])
    return y


def _share(entry: pd.Series) -> str:
    return f"{entry['better_subjects']:.0f}/{entry['n_subjects']:.0f}"


def _marker(entry: pd.Series, size: float = 6.5) -> dict[str, Any]:
    """Return the style of a mean; transductive pipelines get an open diamond."""
    color = COLORS[entry["kind"]]
    face, edge = ("white", color) if entry["transductive"] else (color, "white")
    return {
        "marker": "D",
        "markersize": size,
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": 1.6 if entry["transductive"] else 0.8,
    }


def _legend(axes: Axes, table: pd.DataFrame, *more: Any) -> None:
    from matplotlib.lines import Line2D

    words = {"foundation": "foundation model", "baseline": "baseline", "chance": "guessing"}
    kinds = [
        Line2D([], [], color=COLORS[kind], marker="D", linewidth=0, label=words[kind], markersize=5)
        for kind in COLORS
        if kind in set(table["kind"])
    ]
    axes.figure.legend(
        handles=[*kinds, *more], loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )


def score_figure(results: BenchmarkResults) -> Figure:
    """Draw the scores: subjects as dots, mean and SD over folds, chance.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.

    Returns
    -------
    matplotlib.figure.Figure
        Pipelines from best to worst mean score.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    table = _finished(results)
    figure = _figure(8.4, 1.5 + 0.42 * len(table))
    axes = figure.subplots()
    y = _rows(axes, table)
    chance, limit = results.facts["chance"], results.facts["chance_limit"]
    axes.axvspan(chance, limit, color="#EFEFEF", zorder=0)
    axes.axvline(chance, color=COLORS["chance"], linestyle="--", linewidth=1, zorder=1)
    rng = np.random.default_rng(0)
    for row, (_, entry) in zip(y, table.iterrows()):
        own = results.subjects[results.subjects["pipeline"] == entry["pipeline"]]
        people = own.groupby("subject")["score"].mean().to_numpy()
        color = COLORS[entry["kind"]]
        axes.scatter(
            people, row + rng.uniform(-0.2, 0.2, len(people)), s=11, color=color, alpha=0.32,
            linewidth=0, zorder=2,
        )  # fmt: skip
        axes.errorbar(
            entry["score"], row, xerr=entry["sd_folds"], color=color, linewidth=2.2, capsize=4,
            zorder=3, **_marker(entry),
        )  # fmt: skip
        axes.annotate(
            f"{entry['score']:.3f}", (1.01, row), xycoords=("axes fraction", "data"),
            va="center", fontsize=9, color=_INK,
        )  # fmt: skip
    _clean(axes)
    axes.set_xlabel(reading.score_name(results), fontsize=9, color=_INK)
    _legend(
        axes,
        table,
        Line2D([], [], color=_INK, marker="o", lw=0, alpha=0.4, markersize=4, label="subject"),
        Line2D([], [], color=_INK, linewidth=2, label="mean ± SD over folds"),
        Patch(color="#E3E3E3", label="chance, to the limit of 95 % of guessers"),
    )
    return figure


def difference_figure(results: BenchmarkResults) -> Figure | None:
    """Draw the differences to the reference with their intervals.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.

    Returns
    -------
    matplotlib.figure.Figure | None
        None when there is nothing to compare.
    """
    table = _finished(results)
    table = table[table["difference"].notna() & (table["kind"] != "chance")].reset_index(drop=True)
    if table.empty:
        return None
    figure = _figure(8.4, 1.3 + 0.42 * len(table))
    axes = figure.subplots()
    y = _rows(axes, table)
    axes.axvline(0, color=_INK, linewidth=1)
    for row, (_, entry) in zip(y, table.iterrows()):
        color = COLORS[entry["kind"]]
        axes.plot([entry["ci_low"], entry["ci_high"]], [row, row], color=color, linewidth=2.2)
        axes.plot(entry["difference"], row, linewidth=0, **_marker(entry))
        axes.annotate(
            f"{_share(entry)} better, "
            f"p {reading.p_text(entry['p_subjects_holm'])}",
            (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=_INK,
        )  # fmt: skip
    _clean(axes)
    axes.set_xlabel(
        f"difference in {reading.score_name(results)} to {results.reference}: mean over subjects "
        "with 95 % interval",
        fontsize=9,
        color=_INK,
    )
    _legend(axes, table)
    return figure


def paired_figure(results: BenchmarkResults) -> Figure | None:
    """Draw subjects as points: reference against pipeline.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.

    Returns
    -------
    matplotlib.figure.Figure | None
        Up to six pipelines, foundation models first; None without a reference.
    """
    table, reference = _finished(results), results.reference
    others = table[table["difference"].notna() & (table["kind"] != "chance")]
    if reference is None or others.empty:
        return None
    models = others[others["kind"] == "foundation"]
    others = pd.concat([models, others.drop(models.index)]).head(_MAX_PANELS)
    wide = results.subjects.pivot_table(index="subject", columns="pipeline", values="score")
    columns = 2 if len(others) == 4 else min(3, len(others))
    rows = -(-len(others) // columns)
    figure = _figure(2.8 * columns, 2.9 * rows)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    names = [reference, *others["pipeline"]]
    low, high = np.nanmin(wide[names]), np.nanmax(wide[names])
    pad = 0.05 * max(high - low, 0.1)
    for axes, (_, entry) in zip(grid.flat, others.iterrows()):
        x, y = wide[reference], wide[entry["pipeline"]]
        axes.plot([low - pad, high + pad], [low - pad, high + pad], color=_INK, linewidth=0.8)
        axes.scatter(
            x, y, s=22, color=COLORS[entry["kind"]], alpha=0.6, edgecolor="white", linewidth=0.5
        )
        axes.set_title(
            f"{reading.label(entry['pipeline'], entry['transductive'])}\n"
            f"{_share(entry)} above, "
            f"Δ {entry['difference']:+.3f}",
            fontsize=9,
            color=COLORS[entry["kind"]],
        )
        axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
        _clean(axes, "both")
    for column, axes in enumerate(grid[-1]):
        if (rows - 1) * columns + column >= len(others):
            axes.set_visible(False)
            grid[-2, column].tick_params(labelbottom=True)
    figure.supxlabel(f"{reference} ({reading.score_name(results)} of each subject)", fontsize=9)
    figure.supylabel("pipeline", fontsize=9)
    return figure


def cost_figure(results: BenchmarkResults) -> Figure:
    """Draw what training and prediction cost.

    Parameters
    ----------
    results : BenchmarkResults
        Finished results.

    Returns
    -------
    matplotlib.figure.Figure
        Seconds per fit and milliseconds per predicted epoch, every fold a dot.
    """
    table = _finished(results)
    figure = _figure(8.4, 1.3 + 0.36 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    y = _rows(left, table)
    done = results.folds[results.folds["error"].isna()]
    per_epoch = 1e3 * done["predict_seconds"] / done["n_test"]
    quantities = (
        (left, "seconds to fit one fold", done["fit_seconds"]),
        (right, "milliseconds to predict one epoch", per_epoch),
    )
    for axes, title, values in quantities:
        for row, (_, entry) in zip(y, table.iterrows()):
            own = values[done["pipeline"] == entry["pipeline"]]
            color = COLORS[entry["kind"]]
            axes.plot(own, np.full(len(own), row), "o", color=color, alpha=0.35, markersize=4)
            axes.plot(own.mean(), row, linewidth=0, **_marker(entry))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(title, fontsize=9, color=_INK)
        _clean(axes)
    return figure


def as_svg(figure: Figure) -> str:
    """Return a figure as SVG text that stands in an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure.

    Returns
    -------
    str
        The same text for the same figure.
    """
    import io

    import matplotlib

    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "eegfound"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
