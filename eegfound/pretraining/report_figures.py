"""Figures of a pretraining: curves, reconstructions, codes, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eegfound.benchmark.figures import _FAINT, _INK, COLORS, _clean, _figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eegfound.pretraining.report import Drawing

#: Training, held-out windows, a predictor that learned nothing.
_TRAIN, _VALID, _TRIVIAL = COLORS["baseline"], COLORS["foundation"], COLORS["chance"]
_SHADE = "#F3E3B3"
#: More points than a curve can show are averaged.
_MAX_POINTS = 400
_MAX_CHANNELS = 8
_COLUMNS = 3
#: Over this ratio of the largest to the smallest value an axis is logarithmic.
_LOG_RATIO = 30.0


def curves_figure(rows: Sequence[Mapping[str, Any]], measures: Sequence[str]) -> Figure | None:
    """Draw how each measure of a stage went, beside its trivial reference.

    Parameters
    ----------
    rows : sequence of mapping
        Lines of the metrics file of one stage.
    measures : sequence of str
        What to draw, one panel each.

    Returns
    -------
    matplotlib.figure.Figure | None
        None when there is nothing to draw.
    """
    if not measures:
        return None
    columns = min(_COLUMNS, len(measures))
    n_rows = -(-len(measures) // columns)
    figure = _figure(3.0 * columns + 0.6, 2.3 * n_rows + 0.5)
    grid = figure.subplots(n_rows, columns, squeeze=False)
    for axes in grid.flat[len(measures) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, measures, strict=False):
        _draw_curve(axes, rows, name)
    _curve_legend(figure, any(f"{name}_trivial" in row for row in rows for name in measures))
    return figure


def _draw_curve(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    shown = [
        _series(rows, name, "train"), _series(rows, name, "valid"),
        _series(rows, f"{name}_trivial", "valid"),
    ]  # fmt: skip
    (train_x, train_y), (valid_x, valid_y), (trivial_x, trivial_y) = shown
    if not len(trivial_x):
        trivial_x, trivial_y = _series(rows, f"{name}_trivial", "train")
    axes.plot(*_thinned(train_x, train_y), color=_TRAIN, linewidth=1.1, alpha=0.8)
    few = len(valid_x) <= 40
    axes.plot(
        valid_x, valid_y, color=_VALID, linewidth=1.6, marker="o" if few else None, markersize=3.5
    )
    if len(trivial_x) == 1:
        axes.axhline(trivial_y[0], color=_TRIVIAL, linewidth=1.2, linestyle="--")
    else:
        axes.plot(trivial_x, trivial_y, color=_TRIVIAL, linewidth=1.2, linestyle="--")
    values = np.concatenate([train_y, valid_y, trivial_y])
    if len(values) and values.min() > 0 and values.max() / values.min() > _LOG_RATIO:
        axes.set_yscale("log")
    axes.set_title(name, fontsize=9.5, color=_INK)
    axes.set_xlabel("step", fontsize=8.5, color=_INK)
    _clean(axes, "y")


def _curve_legend(figure: Figure, with_trivial: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_TRAIN, linewidth=1.4, label="training"),
        Line2D([], [], color=_VALID, linewidth=1.8, marker="o", markersize=4, label="held out"),
    ]
    if with_trivial:
        handles.append(
            Line2D([], [], color=_TRIVIAL, linewidth=1.4, linestyle="--", label="trivial")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)


def _series(
    rows: Sequence[Mapping[str, Any]], name: str, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a measure, finite ones only."""
    points = [(row["step"], row[name]) for row in rows if row.get("split") == split and name in row]
    table = np.array([p for p in points if p[1] is not None], dtype=float).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return table[:, 0], table[:, 1]


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours where there are more points than can be seen."""
    size = -(-len(x) // _MAX_POINTS)
    if size <= 1:
        return x, y
    edges = np.arange(0, len(x), size)
    counts = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / counts, np.add.reduceat(y, edges) / counts


def rate_figure(rows: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> Figure | None:
    """Draw the learning rate of each stage.

    Parameters
    ----------
    rows : sequence of mapping
        Lines of the metrics file.
    stages : sequence of str
        In their order.

    Returns
    -------
    matplotlib.figure.Figure | None
        None when no line tells it.
    """
    series = []
    for stage in stages:
        x, y = _series([row for row in rows if row.get("stage") == stage], "lr", "train")
        if len(x):
            series.append((stage, x, y))
    if not series:
        return None
    figure = _figure(max(4.2, 2.9 * len(series)), 2.3)
    panels = figure.subplots(1, len(series), squeeze=False)[0]
    for axes, (stage, x, y) in zip(panels, series, strict=True):
        axes.plot(*_thinned(x, y), color=_TRAIN, linewidth=1.5)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        axes.set_title(stage, fontsize=9.5, color=_INK)
        axes.set_xlabel("step", fontsize=8.5, color=_INK)
        _clean(axes, "y")
    return figure


def signal_figure(drawing: Drawing) -> Figure | None:
    """Draw a window and what the network makes of it; hidden patches are shaded.

    Parameters
    ----------
    drawing : Drawing
        With ``signal``; ``reconstruction`` and ``hidden`` are drawn if there.

    Returns
    -------
    matplotlib.figure.Figure | None
        Up to eight channels, spread over all; None without a signal.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    signal, made = drawing.signal, drawing.reconstruction
    if signal is None:
        return None
    chosen = spread_over(len(signal), _MAX_CHANNELS)
    n_times = signal.shape[1]
    x = np.arange(n_times) if drawing.sfreq is None else np.arange(n_times) / drawing.sfreq
    figure = _figure(8.4, 1.1 + 0.62 * len(chosen))
    axes = figure.subplots()
    # One scale for all channels: amplitudes can be compared.
    step = 2.2 * float(np.percentile(np.abs(signal[chosen] - _level(signal[chosen])), 98)) or 1.0
    names = drawing.ch_names or tuple(str(i) for i in range(len(signal)))
    bounds = (-(len(chosen) - 0.3) * step, 0.7 * step)
    for row, channel in enumerate(chosen):
        base = -row * step
        if drawing.hidden is not None:
            _shade(axes, drawing.hidden[channel], x, base, step)
        middle = float(_level(signal[channel]))
        axes.plot(x, signal[channel] - middle + base, color=_INK, linewidth=0.8)
        if made is not None:
            axes.plot(x, made[channel] - middle + base, color=_VALID, linewidth=1.1, alpha=0.9)
    axes.set_yticks([-row * step for row in range(len(chosen))], [names[i] for i in chosen])
    axes.set_ylim(*bounds)
    axes.set_xlim(x[0], x[-1])
    label = "feature" if drawing.sfreq is None else "seconds"
    axes.set_xlabel(
        f"{label} (channels stand {step:.3g} apart{', ' + drawing.unit if drawing.unit else ''})",
        fontsize=9, color=_INK,
    )  # fmt: skip
    _clean(axes, "x")
    handles: list[Any] = [Line2D([], [], color=_INK, linewidth=1, label="signal")]
    if made is not None:
        handles.append(Line2D([], [], color=_VALID, linewidth=1.4, label="reconstruction"))
    if drawing.hidden is not None:
        handles.append(Patch(color=_SHADE, label="hidden from the network"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def _level(signal: np.ndarray) -> np.ndarray:
    return np.median(signal, axis=-1, keepdims=True) if signal.ndim > 1 else np.median(signal)


def _shade(axes: Axes, hidden: np.ndarray, x: np.ndarray, base: float, step: float) -> None:
    edges = np.linspace(x[0], x[-1], len(hidden) + 1)
    for patch in np.flatnonzero(hidden):
        axes.fill_between(
            edges[patch : patch + 2], base - 0.5 * step, base + 0.5 * step, color=_SHADE,
            linewidth=0, zorder=0,
        )  # fmt: skip


def spread_over(n: int, at_most: int) -> list[int]:
    """Return up to ``at_most`` of ``n`` places, evenly spread from first to last.

    Examples
    --------
    >>> from eegfound.pretraining.report_figures import spread_over
    >>> spread_over(9, 3), spread_over(2, 3)
    ([0, 4, 8], [0, 1])
    """
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, at_most)).tolist()})


def mask_figure(drawings: Sequence[Drawing]) -> Figure | None:
    """Draw what is hidden of some windows, channels by patches.

    Parameters
    ----------
    drawings : sequence of Drawing
        Windows; those without ``hidden`` are left out.

    Returns
    -------
    matplotlib.figure.Figure | None
        None when nothing is hidden.
    """
    from matplotlib.colors import ListedColormap

    shown = [d for d in drawings if d.hidden is not None and d.hidden.size][:4]
    if not shown:
        return None
    most = max(d.hidden.shape[0] for d in shown if d.hidden is not None)
    figure = _figure(8.4, 1.4 + min(3.6, 0.13 * most))
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, drawing in zip(panels, shown, strict=True):
        hidden = np.asarray(drawing.hidden)
        axes.pcolormesh(
            hidden, cmap=ListedColormap(["white", "#C9A227"]), vmin=0, vmax=1,
            edgecolors=_FAINT, linewidth=0.4,
        )  # fmt: skip
        axes.invert_yaxis()
        axes.set_title(f"{hidden.mean():.0%} hidden", fontsize=9, color=_INK)
        axes.set_xlabel("patch", fontsize=8.5, color=_INK)
        if len(hidden) <= 24 and len(drawing.ch_names) == len(hidden):
            axes.set_yticks(np.arange(len(hidden)) + 0.5, drawing.ch_names)
        else:
            axes.set_ylabel("channel", fontsize=8.5)
        axes.tick_params(length=0, labelsize=7.5)
    return figure


def code_figure(counts: np.ndarray) -> Figure:
    """Draw how often each code occurs, the commonest first.

    Parameters
    ----------
    counts : ndarray, shape (n_codes,)
        Occurrences of each code.

    Returns
    -------
    matplotlib.figure.Figure
        Share against rank, beside equal use.
    """
    total = max(1.0, float(counts.sum()))
    share = np.sort(counts)[::-1] / total
    used = share[share > 0]
    figure = _figure(8.4, 2.5)
    axes = figure.subplots()
    axes.plot(np.arange(1, len(used) + 1), used, color=_VALID, linewidth=1.6)
    axes.axhline(1 / len(counts), color=_TRIVIAL, linestyle="--", linewidth=1.1)
    axes.annotate(
        "all codes equally", (1, 1 / len(counts)), xytext=(2, 3), textcoords="offset points",
        fontsize=8, color=_TRIVIAL,
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, len(counts))
    axes.set_xlabel(f"rank of the code (of {len(counts)})", fontsize=9, color=_INK)
    axes.set_ylabel("share of patches", fontsize=9, color=_INK)
    _clean(axes, "both")
    return figure


def perplexity(counts: np.ndarray) -> float:
    """Return how many equally common codes would be as varied (exp of the entropy).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.pretraining.report_figures import perplexity
    >>> round(perplexity(np.array([5, 5, 0])), 3)
    2.0
    """
    share = counts[counts > 0] / max(1.0, float(counts.sum()))
    return float(np.exp(-(share * np.log(share)).sum()))
