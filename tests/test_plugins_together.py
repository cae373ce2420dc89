"""What every installed native model does for a user."""

from __future__ import annotations

import mne
import numpy as np
import pytest

import eegfound as ef
from eegfound.models import registry
from eegfound.preprocessing import describe_preparation
from tests.helpers_native import NATIVE

#: Large default sizes would only cost time here.
SMALL = {"dare": "nano", "eegpt": "tiny1", "neurolm": "tiny", "specmoe": "expert"}
pytestmark = pytest.mark.skipif(len(NATIVE) < 3, reason="only some plugins are installed")


def small(name):
    return {"size": SMALL.get(name), "checkpoint": None}


def test_the_suite_is_installed():
    missing = {"dare", "eegpt", "eegpt-ar", "labram", "mmm", "neurolm", "specmoe"} - set(NATIVE)
    assert not missing
    assert {r.name for r in registry.records() if r.status != "ok"} <= {"braindecode"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    names = ["Fp1", "Fp2", "C3", "C4", "O1", "O2", "EOG"]
    info = mne.create_info(names, 250.0, ["eeg"] * 6 + ["eog"])
    noise = 1e-5 * np.random.default_rng(0).standard_normal((7, 250 * 15))
    path = tmp_path_factory.mktemp("recording") / "short_raw.fif"
    raw = mne.io.RawArray(noise, info, verbose="error")
    raw.save(path, verbose="error")
    return path, raw.info


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NATIVE)
def test_the_code_that_doctor_prints_runs(recording, name):
    path, info = recording
    code = describe_preparation(name, info).code(str(path), duration=15.0)
    call = f"make_transformer({name!r}"
    assert call in code
    scope = {"small": small}
    exec(code.replace(call, f"{call}, **small({name!r})"), scope)
    assert np.isfinite(scope["embeddings"]).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NATIVE)
def test_bad_channels_of_new_epochs_are_not_used(name):
    names = ["Fz", "C3", "Cz", "C4", "Pz"]
    noise = 1e-5 * np.random.default_rng(1).standard_normal((3, 5, 1000))

    def epochs(bads=()):
        info = mne.create_info(names, 250.0, "eeg")
        info["bads"] = list(bads)
        return mne.EpochsArray(noise, info, verbose="error")

    encoder = ef.make_transformer(name, **small(name)).fit(epochs())
    absent = noise.copy()
    absent[:, 1] = np.nan
    expected = encoder.transform(absent)
    np.testing.assert_array_equal(encoder.transform(epochs(["C3"])), expected)
    assert np.abs(encoder.transform(epochs()) - expected).max() > 0
    mixed = encoder.transform([epochs(["C3"])[:1], epochs()[1:]])
    np.testing.assert_array_equal(mixed[:1], expected[:1])


@pytest.mark.skipif("eegpt" not in NATIVE, reason="needs eegfound-eegpt")
def test_full_tuning_survives_features_that_hardly_vary():
    from sklearn.metrics import log_loss

    X, y, _, info = ef.datasets.load_sample()
    X, y = X[::13], y[::13]
    clf = ef.make_classifier("eegpt", info=info, tuning="full", max_epochs=4, **small("eegpt"))
    assert log_loss(y, clf.fit(X, y).predict_proba(X)) < 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif("mmm" not in NATIVE, reason="needs eegfound-mmm")
def test_a_flat_channel_does_not_move_other_epochs():
    X, _, _, info = ef.datasets.load_sample()
    flat = X[:8].copy()
    flat[0, 3] = 0
    before, after = (
        ef.make_transformer("mmm", checkpoint=None, info=info).fit_transform(data)[1:]
        for data in (X[:8], flat)
    )
    assert np.abs(after - before).max() < 0.2 * before.std()
