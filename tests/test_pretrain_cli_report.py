"""The report of a pretraining, from a metrics file and drawn windows."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from eegfound.pretraining.report import (
    Drawing,
    measures_of,
    reached,
    read_metrics,
    write_report,
)
from eegfound.pretraining.report_figures import perplexity, spread_over


def history() -> list[dict]:
    """Two stages; the second has an accuracy beside a loss."""
    rows = []
    for stage, parts in (("tokenizer", ("amplitude",)), ("masked", ("accuracy",))):
        for step in range(1, 11):
            line = {
                "stage": stage, "epoch": step // 6, "step": step, "n_windows": 8, "split": "train",
                "lr": 1e-3 / step, "seconds": 0.5 * step, "total": 4.0 / step,
            }  # fmt: skip
            rows.append(line | dict.fromkeys(parts, step / 10))
            if step % 5 == 0:
                rows.append(
                    {k: line[k] for k in ("stage", "epoch", "step", "n_windows", "seconds")}
                    | {"split": "valid", "total": 5.0 / step, "total_trivial": 2.0}
                    | dict.fromkeys(parts, step / 20)
                    | {f"{part}_trivial": 0.25 for part in parts}
                )
    return rows


def drawing(stage: str, seed: int = 0, **changes) -> Drawing:
    rng = np.random.default_rng(seed)
    fields = {
        "signal": rng.standard_normal((4, 200)), "reconstruction": rng.standard_normal((4, 200)),
        "hidden": rng.random((4, 8)) < 0.5, "code_use": np.array([5.0, 5.0, 0.0, 0.0]),
        "ch_names": ("Fz", "Cz", "Pz", "Oz"), "sfreq": 100.0, "title": f"subject {seed}",
    }  # fmt: skip
    return Drawing(stage, **(fields | changes))


FACTS = {
    "model": "toy<1>", "size": "small", "summary": "A toy", "n_parameters": 12345,
    "stages": [
        {"name": "tokenizer", "summary": "codes", "options": {"lr": 5e-5, "betas": (0.9, 0.99)}},
        {"name": "masked", "options": {"max_epochs": 2}},
    ],
    "record": {
        "datasets": [
            {"name": "eegmat", "licence": "ODC-By 1.0", "citation": "Zyma 2019",
             "subjects": ["3", "5"], "n_recordings": 4, "hours": 0.25},
        ],
        "n_windows": 80, "hours": 0.25,
    },
    "held_out": ["5"], "excluded": ["7"], "run": {"seed": 3, "device": "cpu"},
    "versions": {"eegfound": "0.1", "torch": "2"}, "fingerprint": "abc123",
    "command": "eegfound pretrain toy --data <x>",
}  # fmt: skip


def test_reached_is_the_last_held_out_line_beside_its_reference() -> None:
    rows = {(r.stage, r.measure): r for r in reached(history())}
    assert rows["tokenizer", "total"].value == 0.5
    assert rows["tokenizer", "total"].ratio == pytest.approx(0.25)
    assert rows["tokenizer", "total"].is_better
    # 0.5 is above 0.25: bad for a loss, good for an accuracy.
    assert rows["tokenizer", "amplitude"].is_better is False
    assert rows["masked", "accuracy"].is_better is True
    assert next(r.measure for r in reached(history())) == "total"
    assert reached([row for row in history() if row["split"] == "train"]) == []
    early = {(r.stage, r.measure): r.value for r in reached(history(), {"masked": 0})}
    assert early["masked", "total"] == 1.0  # the first of two passes was kept
    assert early["tokenizer", "total"] == 0.5


def test_measures_leave_out_bookkeeping_and_references() -> None:
    assert measures_of(history()) == ["total", "amplitude", "accuracy"]
    assert measures_of([{"stage": "a", "total": 1.0, "flag": True, "note": "x"}]) == ["total"]


def test_metrics_that_are_being_written_can_be_read(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = "\n".join(json.dumps(row) for row in history()[:3])
    path.write_text(whole + '\n{"stage": "tok')
    assert read_metrics(path) == history()[:3]
    path.write_text('{"stage": "tok\n' + whole)
    with pytest.raises(json.JSONDecodeError):
        read_metrics(path)


class _Reader(HTMLParser):
    """Collects text, and everything that would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.fetched = [], []

    def handle_starttag(self, tag, attrs) -> None:
        self.fetched += [
            value for name, value in attrs
            if name in ("src", "href", "xlink:href", "data") and not str(value).startswith("#")
        ]  # fmt: skip
        assert tag not in ("script", "link", "iframe", "img")

    def handle_data(self, data) -> None:
        self.text.append(data)


def test_the_report_stands_alone_and_tells_everything(tmp_path) -> None:
    drawings = [drawing("masked", 0), drawing("masked", 1)]
    path = write_report(tmp_path / "sub" / "r.html", history(), facts=FACTS, drawings=drawings)
    page = path.read_text(encoding="utf-8")
    reader = _Reader()
    reader.feed(page)
    assert reader.fetched == []
    text = " ".join(" ".join(reader.text).split())
    for expected in (
        "Pretraining of toy<1> (small)", "12,345 parameters", "20 steps", "80 windows",
        "Zyma 2019", "ODC-By 1.0", "abc123", "eegfound pretrain toy --data <x>", "0.9, 0.99",
        "torch 2", "subject 1", "2 of 4 codes occur among 20 held-out patches; perplexity 2.0",
        "(not better)", "5 s of training",
    ):  # fmt: skip
        assert expected in text, expected
    figures = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    # Two stages' curves, two windows, masks, codes, learning rates.
    assert len(figures) == 7
    for figure in figures:
        ElementTree.fromstring(figure)
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_a_report_of_next_to_nothing(tmp_path) -> None:
    rows = [
        {"stage": "pretraining", "epoch": 0, "step": 1, "split": "train", "total": float("nan")}
    ]
    bare = Drawing("pretraining", signal=np.zeros((30, 5)))
    page = write_report(tmp_path / "r.html", rows, facts={}, drawings=[bare]).read_text()
    assert "No window was held out" in page
    assert "Nobody said which data these are" in page


def test_drawing_takes_tensors_and_leaves_out_what_is_not_there() -> None:
    import torch

    found = {
        "signal": torch.zeros(2, 4, dtype=torch.bfloat16, requires_grad=True),
        "hidden": torch.tensor([True, False]), "reconstruction": None, "more": torch.ones(1),
    }  # fmt: skip
    made = Drawing.of("a", found, ch_names=("x", "y"))
    assert made.signal.dtype == np.float32
    assert made.hidden.shape == (1, 2)
    assert made.hidden.dtype == bool
    assert made.reconstruction is None


def test_hidden_patches_are_shaded_where_they_are() -> None:
    from eegfound.pretraining.report_figures import signal_figure

    hidden = np.zeros((1, 4), dtype=bool)
    hidden[0, 2] = True
    one = drawing("a", signal=np.ones((1, 200)), reconstruction=None, hidden=hidden)
    axes = signal_figure(one).axes[0]
    (shade,) = axes.collections
    x = shade.get_paths()[0].vertices[:, 0]
    # The third of four patches of two seconds.
    assert (x.min(), x.max()) == pytest.approx((1.0, 1.5), abs=0.01)


def test_perplexity_and_spread() -> None:
    assert perplexity(np.array([1, 1, 1, 1])) == pytest.approx(4)
    assert perplexity(np.array([7, 0])) == pytest.approx(1)
    assert spread_over(64, 8)[0] == 0
    assert spread_over(64, 8)[-1] == 63
