"""What people see: the terminal, the report, the pipelines of a default run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from eegfound import ChannelInfo
from eegfound.base import SpecError
from eegfound.benchmark import default_pipelines, figures, reading, run_benchmark
from eegfound.benchmark.provenance import kind_of, pretraining_status
from eegfound.datasets import get_card, load_sample
from eegfound.models import registry


@pytest.fixture(scope="module")
def sample():
    return load_sample(subjects=range(12))


@pytest.fixture(scope="module")
def results(sample):
    """Real baselines on real EEG of twelve people."""
    X, y, groups, info = sample
    pipelines = default_pipelines([], ["tangent_space", "tangent_space_recentred"], info=info)
    pipelines["broken"] = make_pipeline(FunctionTransformer(np.ravel), LogisticRegression())
    return run_benchmark(
        pipelines, X, y, groups, cv="subject", dataset="sample", info=info, progress=False
    )


def test_tangent_space_learns_more_than_guessing(results):
    table = results.table().set_index("pipeline")
    assert table.loc["dummy", "score"] == 0.5
    for name in ("tangent_space", "tangent_space_recentred"):
        assert table.loc[name, "score"] > 0.55
    assert table.loc["tangent_space_recentred", "transductive"]
    assert results.reference == "tangent_space"
    assert (results.folds["memory_mb"].dropna() >= 0).all()


def test_the_same_numbers_again(results, sample):
    X, y, groups, info = sample
    pipelines = default_pipelines([], ["tangent_space"], info=info)
    again = run_benchmark(pipelines, X, y, groups, dataset="sample", info=info, progress=False)
    keep = ["epoch", "y_pred"]
    one, other = (
        r.predictions.query("pipeline == 'tangent_space'")[keep].reset_index(drop=True)
        for r in (results, again)
    )
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_table(results, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    results.print()
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    for part in ("tangent_space_recentred †", "ref", "dummy", "0.500", "failed", "ODC-BY"):
        assert part in shown
    assert ("MB" in shown) == (width == 140)


class Outline(HTMLParser):
    """Tags, links to elsewhere, and whether all that was opened was closed."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.loads = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "data", "srcset") and v]
        if tag in ("link", "script", "iframe"):
            self.loads.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_stands_alone_and_says_what_matters(results, tmp_path):
    text = results.report(tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.loads == []
    assert outline.tags.count("figure") == 4
    assert text.count("<svg") == 4
    links = set(re.findall(r'https?://[^"<\s]*', text))
    assert {link for link in links if "w3.org" not in link} == {get_card("sample").url}
    for part in (
        "ODC-BY 1.0", "Zyma", "Goldberger", results.facts["split_digest"],
        results.facts["versions"]["pyriemann"], "transductive", "tangent_space", "broken",
        f"{results.table()['score'][0]:.3f}",
    ):  # fmt: skip
        assert part in text, part


def test_report_escapes_names(sample, tmp_path):
    X, y, groups, _info = sample
    name = "<script>alert(1)</script>"
    results = run_benchmark({name: DummyClassifier()}, X, y, groups, progress=False)
    text = results.report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script>" not in text


def test_report_when_everything_failed(sample, tmp_path, capsys):
    X, y, groups, _ = sample
    broken = make_pipeline(FunctionTransformer(np.ravel), LogisticRegression())
    results = run_benchmark({"broken": broken}, X, y, groups, out=tmp_path, progress=False)
    assert "No pipeline finished" in (tmp_path / "report.html").read_text(encoding="utf-8")
    results.print()
    assert "No pipeline finished" in capsys.readouterr().out


def test_figures_show_every_subject_and_chance(results):
    axes = figures.score_figure(results).axes[0]
    dots = [c for c in axes.collections if len(c.get_offsets()) == 12]
    assert len(dots) == 3  # one cloud per finished pipeline
    names = [t.get_text() for t in axes.get_yticklabels()]
    best = [t.get_position()[1] for t in axes.get_yticklabels()]
    assert names[int(np.argmax(best))].startswith(results.table()["pipeline"][0])
    chance = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert chance == [results.facts["chance"]]
    assert figures.as_svg(figures.score_figure(results)) == figures.as_svg(
        figures.score_figure(results)
    )


def test_comparison_with_a_reference_of_ones_choice(results):
    other = results.compare("tangent_space_recentred")
    assert other["pipeline"].tolist() == ["tangent_space"]
    mine = results.compare().set_index("pipeline")["difference"]
    assert other["difference"].item() == pytest.approx(-mine["tangent_space_recentred"])
    with pytest.raises(SpecError, match="nobody"):
        results.compare("nobody")


@pytest.mark.parametrize(
    ("p_subjects", "p_folds", "difference", "word"),
    [
        (0.01, 0.01, 0.1, "better"),
        (0.01, 0.01, -0.1, "worse"),
        (0.01, 0.5, 0.1, "better over subjects"),
        (0.5, 0.01, 0.1, "not distinguishable"),
        (np.nan, np.nan, 0.1, "too few subjects"),
    ],
)
def test_verdicts_need_both_tests(p_subjects, p_folds, difference, word):
    row = pd.Series(
        {
            "difference": difference,
            "p_subjects_holm": p_subjects,
            "p_folds_holm": p_folds,
            "n_subjects": 4,
        }
    )
    assert reading.verdict(row) == word


class TestPipelines:
    info = ChannelInfo(["F3", "F4", "C3", "Cz", "C4", "P3"], 128)

    def test_baselines_and_guessing(self):
        from eegfound.baselines import list_baselines

        every = default_pipelines([], "all", info=self.info)
        assert set(every) == set(list_baselines())
        assert list(every)[-1] == "dummy"
        assert "csp_lda" not in default_pipelines([], "all", info=self.info, n_classes=3)
        assert list(default_pipelines([], "none", info=self.info)) == ["dummy"]
        banded = default_pipelines(
            [], ["tangent_space", "band_power"], info=self.info, band=(8, 30)
        )
        assert any(
            value == (8, 30)
            for key, value in banded["tangent_space"].get_params().items()
            if key.endswith("band")
        )
        with pytest.raises(SpecError, match="tangent_space"):
            default_pipelines([], ["tangent_spice"], info=self.info)

    def test_models(self, toy):
        made = default_pipelines(
            ["toy"], ["tangent_space"], info=self.info, checkpoint=None, seed=5, unit="uV"
        )
        assert list(made) == ["toy+lr", "toy+tangent_space", "tangent_space", "dummy"]
        assert kind_of(made["toy+lr"]) == kind_of(made["toy+tangent_space"]) == "foundation"
        assert kind_of(made["tangent_space"]) == "baseline"
        assert kind_of(made["dummy"]) == "chance"
        params = made["toy+lr"].get_params()
        seeds = {v for k, v in params.items() if k.endswith("random_state")}
        assert seeds == {5}
        with pytest.raises(SpecError, match="size"):
            default_pipelines([], "none", info=self.info, size="base")

    def test_models_run_in_the_benchmark(self, toy, sample):
        X, y, groups, info = sample
        info = info.replace(
            ch_names=[
                {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}.get(n, n) for n in info.ch_names
            ]
        )
        keep = groups < 3
        made = default_pipelines(["toy"], ["tangent_space"], info=info, checkpoint=None)
        results = run_benchmark(
            made, X[keep], y[keep], groups[keep], dataset="sample", progress=False, info=info
        )
        assert not results.errors
        assert results.facts["pretraining"]["toy+lr"] == "random weights"
        assert results.facts["weights"]["toy+lr"] == [{"model": "toy", "weights": "random"}]
        assert "random weights" in " ".join(reading.sentences(results))


def test_contamination_record(toy):
    from dataclasses import replace

    from eegfound.models import Checkpoint

    size = toy.default_size
    known = (
        Checkpoint("seen", size, pretraining_datasets=("TUEG", "EEG-BCI", "Mental Arithmetic")),
        Checkpoint("clean", size, pretraining_datasets=("TUEG",)),
        Checkpoint("silent", size),
    )
    model = replace(toy, name="toy-record", aliases=(), checkpoints=known)
    card = get_card("sample")

    def status(*weights):
        return pretraining_status([{"model": "toy-record", "weights": w} for w in weights], card)

    with registry.registered(model):
        assert status("seen") == "seen in pretraining"
        assert status("clean") == "not in the pretraining record"
        assert status("silent") == "unknown"
        assert status("/home/me/own.safetensors") == "unknown"
        assert status("random") == "random weights"
        assert status("random", "seen") == "seen in pretraining"
        assert status() == ""
        assert pretraining_status([{"model": "toy-record", "weights": "clean"}], None) == "unknown"
    assert pretraining_status([{"model": "gone", "weights": "x"}], card) == "unknown"


def test_contamination_by_subject():
    card = get_card("eegmmidb")
    own = {"model": "toy", "weights": "/home/me/own.safetensors"}

    def status(subjects, **seen):
        return pretraining_status([own | {"seen": seen}], card, subjects)

    assert status([1, 2], eegmmidb=["2", "3"]) == "seen in pretraining"
    assert status([1, 4], eegmmidb=["2", "3"]) == "other subjects seen in pretraining"
    assert status([1, 4], eegmmidb=None) == "seen in pretraining"
    assert status(None, eegmmidb=["2", "3"]) == "seen in pretraining"
    assert status([1, 2], adhd=["v1p"]) == "not in the pretraining record"
    both = [own | {"seen": {"eegmmidb": ["9"]}}, own | {"weights": "other"}]
    assert pretraining_status(both, card, [1]) == "unknown"


def test_lr_on_top_of_scaler_needs_no_info(sample):
    X, y, groups, _ = sample
    flat = FunctionTransformer(lambda X: np.log(X.var(-1)))
    pipeline = make_pipeline(flat, StandardScaler(), LogisticRegression())
    results = run_benchmark({"logvar": pipeline}, X, y, groups, cv="loso", progress=False)
    assert len(results.folds) == 12
    assert results.reference == "logvar"
    assert results.compare().empty
