"""The front end of a model, and what is said about it."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from sklearn.base import clone

import eegfound as ef
from eegfound.base import ModelNotFoundError, SpecError
from eegfound.models import FoundationModel, InputSpec
from eegfound.preprocessing import describe_preparation, prepare_for

VOCABULARY = ("FP1", "C3", "CZ", "C4", "T7", "O1")


def model(**changes):
    spec = {"sfreq": 200, "patch_samples": 200, "vocabulary": VOCABULARY, "band": (0.1, 75)}
    return FoundationModel(
        "mini", "for tests", InputSpec(**{**spec, **changes}), "tests:build", {"base": {}}, "base"
    )


INFO = ef.ChannelInfo(["EEG T3-REF", "EEG C3-REF", "EEG C4-REF", "ECG"], 250)


class TestPrepareFor:
    def test_brings_channels_and_rate(self, rng):
        X = rng.standard_normal((3, 4, 1000)) * 1e-5
        out = prepare_for(model(), INFO).fit_transform(X)
        assert out.shape == (3, 6, 800)
        recorded = ~np.isnan(out).all(axis=(0, 2))
        assert [n for n, r in zip(VOCABULARY, recorded) if r] == ["C3", "C4", "T7"]
        direct = ef.Resampler(250, 200).fit_transform(X)
        np.testing.assert_allclose(out[:, 4], direct[:, 0], atol=1e-15)

    def test_steps_in_order(self):
        front = prepare_for(model(), INFO, l_freq=0.5, h_freq=45, line_freq=50)
        assert [name for name, _ in front.steps] == ["notch", "bandpass", "montage", "resample"]
        assert [name for name, _ in prepare_for(model(vocabulary=None), INFO).steps] == ["resample"]
        for word in ("Notch(", "50", "BandPass(", "45", "MontageMapper(", "Resampler("):
            assert word in repr(front)

    def test_fixed_layout_is_interpolated(self, rng):
        X = rng.standard_normal((2, 4, 1000)) * 1e-5
        assert np.isfinite(prepare_for(model(accepts_missing=False), INFO).fit_transform(X)).all()
        with pytest.raises(SpecError, match="missing"):
            prepare_for(model(), INFO, missing="raise").fit_transform(X)

    def test_filter_beyond_the_recording(self):
        with pytest.raises(SpecError, match=r"h_freq=75 Hz.*64 Hz"):
            prepare_for(model(), INFO.replace(sfreq=128), h_freq=75)

    def test_clone_and_pickle(self, rng):
        X = rng.standard_normal((2, 4, 1000)) * 1e-5
        front = clone(prepare_for(model(), INFO, l_freq=1)).fit(X)
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(front)).transform(X), front.transform(X)
        )

    def test_unknown_model(self):
        with pytest.raises(ModelNotFoundError, match="no-such"):
            prepare_for("no-such", INFO)

    def test_epochs(self, rng):
        mne = pytest.importorskip("mne")
        X = rng.standard_normal((2, 3, 500)) * 1e-5
        epochs = mne.EpochsArray(X, mne.create_info(["C3", "C4", "O1"], 250, "eeg"), verbose=False)
        front = prepare_for(model(), epochs.info, l_freq=1, h_freq=40)
        np.testing.assert_array_equal(front.fit_transform(epochs), front.fit_transform(X))


class TestDescribe:
    def test_channels(self):
        info = ef.ChannelInfo([*INFO.ch_names, "EEG A2-A1", "XY7"], 250)
        told = describe_preparation(model(), info)
        assert dict(told.usable) == {"EEG T3-REF": "T7", "EEG C3-REF": "C3", "EEG C4-REF": "C4"}
        assert told.aliased == (("EEG T3-REF", "T7"),)
        assert told.unknown == ("XY7",)
        assert set(told.left_out) == {"ECG", "EEG A2-A1"}
        assert told.ok
        assert "T3-REF as T7" in str(told)

    def test_nothing_usable(self):
        told = describe_preparation(model(), ef.ChannelInfo(["one", "two"], 250))
        assert not told.ok
        assert "rename" in told.problems[0]
        assert "cannot take it" in str(told)

    def test_rate_and_band(self):
        assert describe_preparation(model(), INFO).band_covered
        slow = describe_preparation(model(), INFO.replace(sfreq=128))
        assert not slow.band_covered
        assert "64 Hz" in str(slow)
        # 75 Hz need 150 Hz; a hair less is no news.
        assert describe_preparation(model(), INFO.replace(sfreq=149)).band_covered

    @pytest.mark.parametrize(
        ("n_times", "length"), [(None, "unknown"), (100, "short"), (1000, "fits"), (4000, "long")]
    )
    def test_length(self, n_times, length):
        told = describe_preparation(model(max_samples=2000), INFO, n_times)
        assert told.length == length
        assert told.ok == (length != "short")
        if length == "long":
            assert "2 pieces" in str(told)

    def test_fixed_layout(self):
        told = describe_preparation(model(accepts_missing=False), INFO)
        assert told.missing == "interpolate"
        assert "3 are interpolated" in str(told)

    def test_any_channel(self):
        told = describe_preparation(model(vocabulary=None), INFO)
        assert len(told.usable) == 3
        assert told.n_electrodes is None

    def test_json(self):
        facts = json.loads(json.dumps(describe_preparation(model(), INFO, 1000).to_dict()))
        assert facts["ok"] is True
        assert facts["model_sfreq"] == 200

    @pytest.mark.parametrize("n_times", [None, 500])
    def test_code_runs_as_printed(self, toy, n_times, tmp_path, rng):
        mne = pytest.importorskip("mne")
        path = tmp_path / "recording_raw.fif"
        info = mne.create_info(["C3", "C4", "O1", "EOG"], 250, ["eeg"] * 3 + ["eog"])
        raw = mne.io.RawArray(rng.standard_normal((4, 5000)) * 1e-5, info, verbose=False)
        raw.save(path, verbose=False)
        told = describe_preparation(toy, raw.info, n_times)
        namespace: dict = {}
        # The toy model has no published weights; everything else stands as printed.
        code = told.code(str(path)).replace("('toy')", "('toy', pretrained=False)")
        exec(compile(code, "printed", "exec"), namespace)
        windows, embeddings = namespace["windows"], namespace["embeddings"]
        assert len(embeddings) == len(windows)
        assert np.isfinite(embeddings).all()
        if n_times:
            assert windows.shape[-1] == n_times

    def test_filters_in_the_code_fit_the_recording(self):
        assert "raw.filter(0.1, 75" in describe_preparation(model(), INFO).code()
        slow = describe_preparation(model(), INFO.replace(sfreq=128)).code()
        assert "raw.filter(0.1, None" in slow
        assert "Windower(window=4)" in slow
