"""Datasets by name, published splits, and the bridge to MOABB."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import pytest

import eegfound.datasets as datasets
from eegfound import ChannelInfo
from eegfound.base import SpecError
from eegfound.datasets import (
    get_card,
    list_datasets,
    load_dataset,
    load_moabb,
    moabb_to_arrays,
    published_split,
)
from eegfound.datasets.splits import SPLITS
from eegfound.models import hookimpl, load_object, registry


def test_every_dataset_has_loader_licence_and_citation():
    for name in ("adhd", "eegmat", "eegmmidb", "muse", "sample"):
        assert name in list_datasets()
        card = get_card(name)
        assert callable(load_object(card.loader))
        assert card.licence
        assert card.citation
        assert card.url.startswith("https://")


def test_loading_by_name():
    X, *_ = load_dataset("sample", subjects=[2])
    assert X.shape == (24, 19, 800)
    with pytest.raises(SpecError, match="Did you mean 'sample'"):
        load_dataset("simple")
    with pytest.raises(SpecError, match="task"):
        load_dataset("sample", task="eyes")


def make_tiny(n=4):
    X = np.full((n, 1, 50), 1e-5, dtype=np.float32)
    return X, np.array(["a", "b"] * (n // 2)), np.arange(n), ChannelInfo(["Cz"], 100)


def test_a_plugin_offers_a_dataset(monkeypatch):
    module = types.ModuleType("tiny_dataset_of_a_plugin")
    module.load = make_tiny
    monkeypatch.setitem(sys.modules, module.__name__, module)
    path = f"{module.__name__}:load"
    plugin = types.SimpleNamespace(eegfound_datasets=hookimpl(lambda: {"tiny": path}))
    with registry.registered(plugin, "tiny-data"):
        assert "tiny" in list_datasets()
        assert load_dataset("tiny", n=6)[0].shape == (6, 1, 50)
        assert get_card("tiny").licence == "unknown"
    assert "tiny" not in list_datasets()


def test_published_splits_keep_people_apart():
    for name in SPLITS:
        parts = published_split(name)
        everybody = [subject for part in parts.values() for subject in part]
        assert len(everybody) == len(set(everybody))
    assert sum(map(len, published_split("eegmmidb").values())) == 109
    assert sum(map(len, published_split("eegmat").values())) == 36
    with pytest.raises(SpecError, match="adhd"):
        published_split("adhd")


class TestMOABB:
    @pytest.fixture
    def parts(self):
        X = np.random.default_rng(0).normal(0, 10, size=(3, 2, 100))
        return X, ["left_hand", "right_hand", "left_hand"], pd.DataFrame({"subject": [1, 1, 2]})

    def test_arrays_are_microvolts(self, parts):
        X, labels, meta = parts
        info = ChannelInfo(["C3", "C4"], 100)
        volts, y, groups, found = moabb_to_arrays(X, labels, meta, info=info)
        np.testing.assert_allclose(volts, X * 1e-6, rtol=1e-6)
        assert y.tolist() == labels
        assert groups.tolist() == [1, 1, 2]
        assert found is info
        plain = moabb_to_arrays(X, labels, meta, info=info, unit_factor=1)[0]
        np.testing.assert_allclose(plain, X, rtol=1e-6)

    def test_mistakes(self, parts):
        X, labels, meta = parts
        info = ChannelInfo(["C3", "C4"], 100)
        with pytest.raises(SpecError, match="return_epochs=True"):
            moabb_to_arrays(X, labels, meta)
        with pytest.raises(SpecError, match="disagree"):
            moabb_to_arrays(X, labels[:2], meta, info=info)
        with pytest.raises(SpecError, match="subject"):
            moabb_to_arrays(X, labels, meta.rename(columns={"subject": "who"}), info=info)

    def test_paradigm_is_asked_for_epochs_in_volts(self, parts):
        import mne

        X, labels, meta = parts
        info = mne.create_info(["C3", "C4"], 100.0, "eeg")
        epochs = mne.EpochsArray(X * 1e-6, info, verbose="error")
        dataset = types.SimpleNamespace(code="data")

        class Paradigm:
            def get_data(self, data, subjects, return_epochs):
                assert (data, subjects, return_epochs) == (dataset, [1], True)
                return epochs, labels, meta

        volts, _, _, found = load_moabb(dataset, Paradigm(), subjects=[1])
        np.testing.assert_allclose(volts, X * 1e-6, rtol=1e-6)
        assert found.ch_names == ("C3", "C4")

    def test_names_are_looked_up_in_moabb(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "moabb", None)
        monkeypatch.setitem(sys.modules, "moabb.datasets", None)
        with pytest.raises(ImportError, match="pip install moabb"):
            load_moabb("BNCI2014_001", "LeftRightImagery")


def test_public_names_exist():
    for name in datasets.__all__:
        assert getattr(datasets, name) is not None
