"""The frozen encoder: what it takes, refuses and returns."""

from __future__ import annotations

import warnings
from itertools import pairwise

import mne
import numpy as np
import pytest

from eegfound.base import RandomWeightsWarning, SpecError, UnitError
from eegfound.estimators import FoundationTransformer
from eegfound.testing.toy import ELECTRODES
from tests.helpers_toy import NAMES, eeg, encoder, info

pytestmark = pytest.mark.usefixtures("toy")


def test_units_give_the_same_embedding():
    X = eeg()
    volts = encoder().fit_transform(X)
    assert volts.dtype == np.float32
    assert volts.shape == (6, 16)
    np.testing.assert_allclose(
        encoder(unit="uV").fit_transform(X * 1e6), volts, rtol=2e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        encoder(unit="mV").fit_transform(X * 1e3), volts, rtol=2e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        encoder().fit_transform(X.astype(np.float32)), volts, rtol=2e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("unit", "factor", "hint"), [("V", 1e6, "unit='uV'"), ("uV", 1, "unit='V'")]
)
def test_a_wrong_unit_is_an_error_that_names_the_right_one(unit, factor, hint):
    with pytest.raises(UnitError, match=hint):
        encoder(unit=unit).fit(eeg() * factor)
    fitted = encoder().fit(eeg())
    with pytest.raises(UnitError, match="unit='uV'"):
        fitted.transform(eeg() * 1e6)


def test_adc_counts_are_no_unit():
    with pytest.raises(UnitError, match="amplifier's resolution"):
        encoder(unit="V").fit(eeg() * 1e14)


def test_epochs_and_arrays_give_the_same_numbers():
    X = eeg(n_times=250, n_channels=6)
    minfo = mne.create_info([*NAMES, "EOG"], 125.0, ["eeg"] * 5 + ["eog"])
    epochs = mne.EpochsArray(X, minfo, verbose="error")
    from_array = encoder(info=minfo).fit_transform(X)
    without = encoder(info=None)
    np.testing.assert_array_equal(without.fit_transform(epochs), from_array)
    np.testing.assert_array_equal(without.fit(X=epochs).transform(epochs), from_array)
    np.testing.assert_array_equal(encoder(info=minfo, unit="uV").fit_transform(epochs), from_array)
    # The EOG channel is no EEG and changes nothing.
    np.testing.assert_array_equal(encoder(info=info(125.0)).fit_transform(X[:, :5]), from_array)
    # Epochs in another channel order are put in order by name.
    turned = epochs.copy().reorder_channels(epochs.ch_names[::-1])
    np.testing.assert_array_equal(without.transform(turned), from_array)


def test_epochs_of_another_rate_or_cap_are_refused():
    X = eeg(n_times=250)
    fitted = encoder(info=None).fit(
        mne.EpochsArray(X, mne.create_info(NAMES, 125.0, "eeg"), verbose="error")
    )
    slow = mne.EpochsArray(X, mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    with pytest.raises(SpecError, match=r"epochs\.resample\(125\)"):
        fitted.transform(slow)
    few = mne.EpochsArray(X[:, :3], mne.create_info(NAMES[:3], 125.0, "eeg"), verbose="error")
    with pytest.raises(SpecError, match="lack the channel"):
        fitted.transform(few)


def test_rate_is_changed_as_the_model_declares():
    from eegfound.preprocessing.resampling import resample

    X = eeg(n_times=500)
    there = encoder(info=info(250.0)).fit_transform(X)
    by_hand = encoder().fit_transform(resample(X, 250.0, 100.0, method="polyphase"))
    np.testing.assert_allclose(there, by_hand, rtol=1e-4, atol=1e-5)


def test_order_of_channels_with_their_names_changes_nothing():
    X = eeg()
    order = [3, 0, 4, 2, 1]
    plain = encoder().fit_transform(X)
    turned = encoder(info=info(names=[NAMES[i] for i in order])).fit_transform(X[:, order])
    np.testing.assert_allclose(turned, plain, atol=1e-6)
    wrong = encoder(info=info(names=[NAMES[i] for i in order])).fit_transform(X)
    assert np.abs(wrong - plain).max() > 1e-3


def test_not_recorded_is_the_same_as_not_there():
    X = eeg()
    gaps = X.copy()
    gaps[::2, 1] = np.nan
    gaps[1, 3] = np.nan
    mixed = encoder().fit_transform(gaps)
    without = encoder(info=info(names=[NAMES[i] for i in (0, 2, 3, 4)])).fit_transform(
        X[:, [0, 2, 3, 4]]
    )
    np.testing.assert_allclose(mixed[::2], without[::2], atol=1e-6)
    np.testing.assert_array_equal(mixed[3], encoder().fit_transform(X)[3])


def test_long_windows_are_cut_and_pooled():
    X = eeg(n_times=900)  # nine patches, four fit into one pass: 3 + 3 + 3
    enc = encoder()
    whole = enc.fit_transform(X)
    assert whole.shape == (6, 16)
    thirds = np.stack([encoder().fit_transform(X[..., i : i + 300]) for i in (0, 300, 600)])
    np.testing.assert_allclose(whole, thirds.mean(axis=0), atol=1e-5)


def test_rest_of_a_window_is_announced_when_it_is_large():
    with pytest.warns(UserWarning, match=r"last 0\.5 s are not used"):
        encoder().fit(eeg(n_times=250))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RandomWeightsWarning)
        encoder().fit(eeg(n_times=305))


def test_short_windows():
    with pytest.raises(SpecError, match="on_short='pad'"):
        encoder().fit(eeg(n_times=80))
    assert encoder(on_short="pad").fit_transform(eeg(n_times=80)).shape == (6, 16)


def test_unknown_channels():
    names = ("Fp1", "Foo9", "Cz", "C4", "O1")
    with pytest.raises(SpecError, match=r"\['Foo9'\].*on_unknown='drop'.*MontageMapper"):
        encoder(info=info(names=names)).fit(eeg())
    enc = encoder(info=info(names=names), on_unknown="drop").fit(eeg())
    assert enc.ch_names_ == ["Fp1", "Cz", "C4", "O1"]
    assert enc.plan_.dropped == ("Foo9",)


def test_without_info():
    X = eeg(n_channels=19)
    np.testing.assert_array_equal(
        encoder(info=None).fit_transform(X), encoder(info=info(names=ELECTRODES)).fit_transform(X)
    )
    with pytest.raises(SpecError, match="pass info="):
        encoder(info=None).fit(eeg())
    with pytest.raises(SpecError, match="info names 5"):
        encoder().fit(eeg(n_channels=4))
    with pytest.raises(SpecError, match=r"numpy\.newaxis"):
        encoder().fit(eeg()[0])


def test_two_dimensions_mean_one_channel():
    X = eeg(n_channels=1)
    one = encoder(info=info(names=["Cz"]))
    np.testing.assert_array_equal(one.fit_transform(X[:, 0]), one.fit_transform(X))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: X.__setitem__((2, 1, 5), np.nan), "NaN in part"),
        (lambda X: X.__setitem__((2, 1, 5), np.inf), "inf"),
        (lambda X: X.__setitem__(3, np.nan), "every channel of 1 epoch"),
    ],
)
def test_bad_numbers(spoil, message):
    X = eeg()
    spoil(X)
    with pytest.raises(SpecError, match=message):
        encoder().fit(X)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "mean_std", "channels", "flatten"])
def test_poolings_and_names(pooling):
    enc = encoder(pooling=pooling).set_output(transform="pandas")
    table = enc.fit_transform(eeg())
    assert len(set(table.columns)) == table.shape[1] == enc.n_features_out_
    assert table.columns[0].startswith(f"toy-small.out.{pooling}.")
    expected = {
        "mean": 16,
        "cls": 16,
        "max": 16,
        "mean_std": 32,
        "channels": 80,
        "flatten": 11 * 16,
    }
    assert table.shape == (6, expected[pooling])


def test_pooling_definitions():
    X = eeg()
    per_channel = encoder(pooling="channels").fit_transform(X).reshape(6, 5, 16)
    np.testing.assert_allclose(per_channel.mean(axis=1), encoder().fit_transform(X), atol=1e-6)
    flat = encoder(pooling="flatten").fit_transform(X).reshape(6, 11, 16)
    np.testing.assert_allclose(flat[:, 0], encoder(pooling="cls").fit_transform(X), atol=1e-6)
    np.testing.assert_allclose(
        flat[:, 1:].max(axis=1), encoder(pooling="max").fit_transform(X), atol=1e-6
    )


def test_a_read_out_that_changes_length_is_refused():
    enc = encoder(pooling="flatten").fit(eeg())
    with pytest.raises(SpecError, match="pooling='mean'"):
        enc.transform(eeg(n_times=300))


def test_layers():
    X = eeg()
    outputs = [encoder(layer=i).fit_transform(X) for i in (0, 1, 2)]
    assert all(np.abs(a - b).max() > 1e-4 for a, b in pairwise(outputs))
    np.testing.assert_array_equal(encoder(layer=-1).fit_transform(X), outputs[2])
    with pytest.raises(SpecError, match="layer=3"):
        encoder(layer=3).fit(X)
    assert encoder(layer=1).fit(X).get_feature_names_out()[0] == "toy-small.layer01.mean.000"


def test_lower_precision_agrees():
    X = eeg()
    a, b = encoder().fit_transform(X), encoder(dtype="bfloat16").fit_transform(X)
    assert b.dtype == np.float32
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.99
    assert np.abs(a - b).max() > 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dtype": "int8"}, "dtype="),
        ({"device": "tpu9"}, "device="),
        ({"batch_size": 0}, "batch_size="),
        ({"n_threads": 0}, "n_threads="),
        ({"pooling": "median"}, "pooling="),
        ({"size": "giant"}, "size="),
        ({"unit": "kV"}, "unit="),
        ({"on_unknown": "maybe"}, "on_unknown="),
        ({"info": "10-20"}, "info must be"),
    ],
)
def test_bad_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        encoder(**params).fit(eeg())


def test_no_model_named():
    with pytest.raises(SpecError, match="model=None"):
        FoundationTransformer(info=info()).fit(eeg())


def test_bad_channels_are_left_out():
    X = eeg()
    minfo = mne.create_info(NAMES, 100.0, "eeg")
    minfo["bads"] = ["Cz"]
    with pytest.warns(UserWarning, match=r"marks \['Cz'\] as bad"):
        enc = encoder(info=minfo).fit(X)
    assert enc.ch_names_ == ["Fp1", "C3", "C4", "O1"]
    other = encoder(info=info(names=("Fp1", "C3", "C4", "O1")))
    np.testing.assert_array_equal(enc.transform(X), other.fit_transform(np.delete(X, 2, axis=1)))


def test_channels_that_are_not_used_may_be_gone_later():
    minfo = mne.create_info([*NAMES, "EOG"], 100.0, ["eeg"] * 5 + ["eog"])
    epochs = mne.EpochsArray(eeg(n_channels=6), minfo, verbose="error")
    enc = encoder(info=None).fit(epochs)
    np.testing.assert_array_equal(enc.transform(epochs.copy().pick("eeg")), enc.transform(epochs))


def test_recordings_must_be_cut_first():
    raw = mne.io.RawArray(eeg()[0], mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    with pytest.raises(SpecError, match="Windower"):
        encoder(info=None).fit(raw)


def test_a_single_epoch_in_another_unit_is_noticed():
    X = eeg()
    X[3] *= 1e6
    with pytest.warns(UserWarning, match="first at index 3"):
        encoder().fit(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [({"layer": 1.5}, "layer="), ({"model_params": {"foo": 1}}, "model_params=")],
)
def test_more_bad_parameters(params, message):
    with pytest.raises(SpecError, match=message):
        encoder(**params).fit(eeg())
