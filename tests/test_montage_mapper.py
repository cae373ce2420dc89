"""Mapping recordings to a montage."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound import ChannelInfo, MontageMapper, union_layout
from eegfound.base import SignalWarning, SpecError
from eegfound.models import FoundationModel, InputSpec
from eegfound.models.manager import registry
from eegfound.montage import get_layout
from eegfound.montage.tables import LAYOUTS

MISSING = ("raise", "nan", "interpolate", "nearest", "zero")
CAP19, CAP64 = LAYOUTS["1020-19"], LAYOUTS["1010-64"]
#: A vocabulary with legacy and modern names as separate rows, and derivations.
LEGACY_ROWS = ("T3", "T5", "T4", "T6", "M1", "A1")
VOCABULARY = (*(n.upper() for n in CAP64), *LEGACY_ROWS, "FP1-F7", "F7-T7")
FEW_EXAMPLES = settings(max_examples=20, deadline=None)


@parametrize_with_checks([MontageMapper()])
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def toy():
    model = FoundationModel(
        name="toymontage",
        summary="made up for tests",
        input=InputSpec(sfreq=200, patch_samples=200, vocabulary=VOCABULARY),
        network="nowhere:build",
        sizes={"tiny": {}},
        default_size="tiny",
    )
    with registry.registered(model):
        yield model


def signals(n_channels, n_epochs=3, n_times=40, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=1e-5, size=(n_epochs, n_channels, n_times)).astype(dtype)


def info_of(names, sfreq=200.0, **more):
    return ChannelInfo(tuple(names), sfreq, **more)


def _time_mean(X):
    return X.mean(axis=-1)


def _same_names(transformer, names):
    return names


names_of_cap = st.lists(st.sampled_from(CAP64), unique=True, min_size=2, max_size=12)


@FEW_EXAMPLES
@given(names_of_cap, st.sampled_from(MISSING), st.booleans())
def test_identity_montage_is_the_identity(names, missing, dressed):
    recorded = [f"EEG {n.upper()}-REF" for n in names] if dressed else names
    X = signals(len(names))
    mapper = MontageMapper(info=info_of(recorded), target=names, missing=missing).fit(X)
    assert np.array_equal(mapper.mapping_, np.eye(len(names)))
    assert np.array_equal(mapper.transform(X), X)
    assert mapper.rank_ == len(names)
    assert mapper.ch_names_out_ == tuple(names)


@FEW_EXAMPLES
@given(st.data(), st.sampled_from(MISSING[1:]))
def test_permuting_channels_with_their_names_changes_nothing(data, missing):
    wanted = data.draw(st.lists(st.sampled_from(CAP19), unique=True, min_size=2, max_size=6))
    other = data.draw(st.lists(st.sampled_from(CAP64), unique=True, max_size=5))
    names = [*wanted, *(n for n in other if n not in wanted)]
    order = data.draw(st.permutations(range(len(names))))
    X = signals(len(names))
    X[1, 0] = np.nan
    straight = MontageMapper(info=info_of(names), target=CAP19, missing=missing)
    shuffled = MontageMapper(info=info_of([names[i] for i in order]), target=CAP19, missing=missing)
    a, b = straight.fit_transform(X), shuffled.fit_transform(X[:, order])
    assert np.allclose(a, b, rtol=1e-9, atol=1e-18, equal_nan=True)
    # The matrix is the same to the last bit, whatever the order it was computed in.
    assert np.array_equal(straight.mapping_[:, order], shuffled.mapping_, equal_nan=True)


def test_mapping_matrix_is_what_transform_does():
    X = signals(8)
    info = info_of(["Fp1", "EEG T3", "C3", "Cz", "C4", "O1", "O2", "ECG"])
    for missing in MISSING[1:]:
        mapper = MontageMapper(info=info, target="1020-19", missing=missing).fit(X)
        assert mapper.mapping_.shape == (19, 8)
        expected = np.where(
            np.isnan(mapper.mapping_).any(axis=1)[:, None],
            np.nan,
            np.nan_to_num(mapper.mapping_) @ X,
        )
        assert np.allclose(mapper.transform(X), expected, equal_nan=True, atol=1e-18)
        assert not mapper.mapping_[:, 7].any()  # the ECG goes nowhere


def test_to_a_model_and_back(toy):
    names = ["EEG Fp1-REF", "EEG T3-REF", "EEG Cz-REF", "EEG T6-REF", "EEG A1-REF"]
    X = signals(len(names))
    there = MontageMapper(info=info_of(names), target="toymontage", missing="nan")
    full = there.fit_transform(X)
    assert full.shape == (3, len(VOCABULARY), 40)
    assert there.ch_names_out_ == VOCABULARY
    assert np.isfinite(full).all(axis=-1).sum(axis=1).tolist() == [5, 5, 5]
    row = {name: i for i, name in enumerate(VOCABULARY)}
    assert np.array_equal(full[:, row["T3"]], X[:, 1])
    assert np.isnan(full[:, row["T7"]]).all()  # T3 fills the row of its own name only
    assert np.isnan(full[:, row["M1"]]).all()
    back = MontageMapper(info=there.info_out_, target=["Fp1", "T3", "Cz", "T6", "A1"])
    assert np.array_equal(back.fit_transform(full), X)


def test_vocabulary_with_two_names_of_an_electrode_goes_to_a_plain_cap(toy):
    """T3 recorded in one epoch, T7 in the other: one electrode of the target."""
    info = get_layout("toymontage").info(200)
    row = {name: i for i, name in enumerate(VOCABULARY)}
    X = np.full((2, len(VOCABULARY), 10), np.nan)
    X[:, row["CZ"]] = 1.0
    X[0, row["T3"]], X[1, row["T7"]] = 2.0, 3.0
    out = MontageMapper(info=info, target=["T7", "Cz"]).fit_transform(X)
    assert out[:, :, 0].tolist() == [[2.0, 1.0], [3.0, 1.0]]
    X[0, row["T7"]] = 2.5
    with pytest.raises(SpecError, match=r"T3.*epoch 0|T7.*epoch 0"):
        MontageMapper(info=info, target=["T7", "Cz"]).fit_transform(X)


def test_missing_raise_names_electrodes_and_ways_out():
    mapper = MontageMapper(info=info_of(["C3", "Cz"]), target=["C3", "Cz", "C4"])
    with pytest.raises(SpecError, match=r"C4.*missing='interpolate'.*missing='nan'"):
        mapper.fit(signals(2))
    mapper = MontageMapper(info=info_of(["C3", "Cz"]), target=["C3", "Cz"])
    X = signals(2)
    X[2, 1] = np.nan
    with pytest.raises(SpecError, match=r"Cz.*epoch 2"):
        mapper.fit(X).transform(X)


def test_zero_and_nan_are_only_what_was_asked_for():
    X = signals(2)
    X[1, 0] = np.nan
    info = info_of(["C3", "Cz"])
    nan = MontageMapper(info=info, target=["Cz", "C3", "C4"], missing="nan").fit_transform(X)
    zero = MontageMapper(info=info, target=["Cz", "C3", "C4"], missing="zero").fit_transform(X)
    assert np.isnan(nan).all(axis=-1).tolist() == [
        [False, False, True],
        [False, True, True],
        [False, False, True],
    ]
    assert np.array_equal(np.nan_to_num(nan), zero)
    assert np.array_equal(zero[:, 0], X[:, 1])


def test_derivations():
    info = info_of(["EEG Fp1-REF", "EEG F7-REF", "EEG T3-REF", "EEG Cz-REF"])
    X = signals(4)
    out = MontageMapper(info=info, target=["Fp1-F7", "F7-T7"]).fit_transform(X)
    assert np.allclose(out, np.stack([X[:, 0] - X[:, 1], X[:, 1] - X[:, 2]], axis=1), atol=1e-20)
    mixed = MontageMapper(info=info, target=["Cz", "Fp1-F7"], missing="nan").fit_transform(X)
    assert np.isnan(mixed[:, 1]).all()  # a row for a derivation is not made up beside electrodes
    recorded = MontageMapper(
        info=info_of(["FP1-F7", "F7-T3", "ECG"]), target=["F7-T7", "Fp1-F7"]
    ).fit_transform(X[:, :3])
    assert np.array_equal(recorded, X[:, [1, 0]])
    with pytest.raises(SpecError, match="C3-C4"):  # two references are not one
        MontageMapper(info=info_of(["C3-A2", "C4-A1"]), target=["C3-C4"]).fit(X[:, :2])


def test_targets_without_a_place_stay_nan_with_a_warning():
    mapper = MontageMapper(info=info_of(["C3", "Cz"]), target=["C3", "X9"], missing="interpolate")
    with pytest.warns(SignalWarning, match="X9"):
        out = mapper.fit_transform(signals(2))
    assert np.isnan(out[:, 1]).all()
    assert np.isfinite(out[:, 0]).all()


def test_names_not_understood():
    info = info_of(["C3", "EEG 001"])
    with pytest.raises(SpecError, match=r"EEG 001.*on_unknown='drop'"):
        MontageMapper(info=info, target=["C3"]).fit(signals(2))
    X = signals(2)
    mapper = MontageMapper(info=info, target=["C3"], on_unknown="drop")
    assert np.array_equal(mapper.fit_transform(X), X[:, :1])
    assert mapper.report_.dropped == (("EEG 001", "name not understood"),)
    with pytest.raises(SpecError, match="None of the channels"):
        MontageMapper(info=info, target=["O1"], missing="nan", on_unknown="drop").fit(X)


def test_located_channels_need_no_name_to_be_interpolated_from():
    layout = get_layout("biosemi128")
    X = np.full((2, 128, 5), 3e-6)
    mapper = MontageMapper(info=layout.info(256), target="1020-19", missing="interpolate")
    out = mapper.fit_transform(X)
    assert np.allclose(out, 3e-6)
    assert mapper.report_.of("recorded") == []  # C3 of a BioSemi file is an amplifier input


def test_channels_that_are_no_eeg_are_not_looked_at():
    info = info_of(["C3", "Cz", "ECG", "Foo"], ch_types=["eeg", "eeg", "eeg", "misc"])
    X = signals(4)
    X[:, 2:, 3] = np.inf
    mapper = MontageMapper(info=info, target=None)
    assert np.array_equal(mapper.fit_transform(X), X[:, :2])
    assert dict(mapper.report_.dropped) == {"ECG": "not an EEG signal", "Foo": "not EEG by type"}


def test_target_none_gives_canonical_names():
    info = info_of(["EEG T5-REF", "Cz..", "EEG A2-A1"])
    mapper = MontageMapper(info=info).fit(signals(3))
    assert mapper.ch_names_out_ == ("P7", "Cz")
    with pytest.raises(SpecError, match=r"C3-A1.*keep one"):
        MontageMapper(info=info_of(["C3-A1", "C3-M2"])).fit(signals(2))


def test_epochs_and_arrays_agree():
    import mne

    names = ["EEG C3-REF", "EEG T3-REF", "STI"]
    info = mne.create_info(names, 200.0, ["eeg", "eeg", "stim"])
    X = signals(3)
    epochs = mne.EpochsArray(X, info, verbose="ERROR")
    from_epochs = MontageMapper(target=["T7", "C3"]).fit(epochs)
    from_array = MontageMapper(info=info, target=["T7", "C3"]).fit(X)
    assert np.array_equal(from_epochs.transform(epochs), from_array.transform(X))
    assert np.array_equal(from_epochs.transform(X), from_array.transform(epochs))
    assert from_epochs.info_out_.sfreq == 200.0
    other = mne.EpochsArray(X, mne.create_info(["C4", "Cz", "Pz"], 200.0, "eeg"), verbose="ERROR")
    with pytest.raises(SpecError, match="fitted on channels"):
        from_epochs.transform(other)
    with pytest.raises(SpecError, match="the Epochs have"):
        MontageMapper(info=info, target=["C4"]).fit(other)


def test_array_needs_names_for_a_target():
    with pytest.raises(SpecError, match=r"info=epochs\.info"):
        MontageMapper(target="1020-19").fit(signals(19))
    with pytest.raises(SpecError, match="3 channels"):
        MontageMapper(info=info_of(["C3", "Cz"])).fit(signals(3))


@pytest.mark.parametrize("wrong", [{"missing": "guess"}, {"on_unknown": "ignore"}])
def test_wrong_parameters(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        MontageMapper(**wrong).fit(signals(2))


def test_epoch_without_any_electrode_of_the_target():
    X = signals(3)
    X[1, :2] = np.nan
    mapper = MontageMapper(info=info_of(["C3", "Cz", "Oz"]), target=["C3", "Cz"], missing="nan")
    with pytest.raises(SpecError, match=r"every channel.*index 1.*channels used: C3, Cz"):
        mapper.fit(X)


def test_partial_nan_and_inf_are_errors():
    mapper = MontageMapper(info=info_of(["C3", "Cz"]), target=["Cz", "C3"])
    for value in (np.nan, np.inf):
        X = signals(2)
        X[0, 0, 3] = value
        with pytest.raises(SpecError, match=r"NaN|inf"):
            mapper.fit(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("missing", ["nan", "interpolate"])
def test_precision_is_kept_and_input_untouched(dtype, missing):
    X = signals(3, dtype=dtype)
    before = X.copy()
    mapper = MontageMapper(info=info_of(["C3", "Cz", "C4"]), target=CAP19, missing=missing)
    out = mapper.fit_transform(X)
    assert out.dtype == dtype
    assert np.array_equal(X, before)
    out[:] = 0
    assert np.array_equal(X, before)


def test_two_dimensional_windows_are_one_channel():
    X = signals(1)[:, 0]
    same = MontageMapper(info=info_of(["EEG Cz"]), target=["Cz"]).fit(X)
    assert np.array_equal(same.transform(X), X)
    more = MontageMapper(info=info_of(["Cz"]), target=["C3", "Cz"], missing="nan")
    assert more.fit_transform(X).shape == (3, 2, 40)
    with pytest.raises(SpecError, match="2-D"):
        MontageMapper(info=info_of(["C3", "Cz"])).fit(X)


def test_clone_pickle_and_pipeline():
    info = info_of(["C3", "Cz", "C4"])
    mapper = MontageMapper(info=info, target=["C3", "C1"], missing="interpolate")
    X = signals(3)
    out = clone(mapper).fit_transform(X)
    again = pickle.loads(pickle.dumps(mapper.fit(X)))
    assert np.array_equal(again.transform(X), out)
    mean = FunctionTransformer(_time_mean, feature_names_out=_same_names)
    pipe = make_pipeline(mapper, mean).set_output(transform="pandas")
    table = pipe.fit_transform(X)
    assert np.array_equal(table.to_numpy(), out.mean(axis=-1))
    assert pipe.get_feature_names_out().tolist() == ["C3", "C1"]


def test_two_caps_in_one_array():
    info_a = info_of(["EEG Fp1-REF", "EEG T3-REF", "EEG Cz-REF"])
    info_b = info_of(["T7..", "Cz..", "Fp2."])
    Xa, Xb = signals(3, seed=1), signals(3, seed=2)
    layout = union_layout(info_a, info_b)
    mapper_a, mapper_b = (
        MontageMapper(info=i, target=layout, missing="nan") for i in (info_a, info_b)
    )
    X = np.concatenate([mapper_a.fit_transform(Xa), mapper_b.fit_transform(Xb)])
    assert layout.ch_names == ("Fp1", "Fp2", "T7", "Cz")
    assert np.array_equal(X[:3, [0, 2, 3]], Xa)
    assert np.array_equal(X[3:, [2, 3, 1]], Xb)
    assert np.isnan(X[:3, 1]).all()
    assert np.isnan(X[3:, 0]).all()
    filled = MontageMapper(info=layout.info(sfreq=200), target=layout, missing="interpolate")
    out = filled.fit_transform(X)
    assert np.isfinite(out).all()
    assert np.array_equal(out[np.isfinite(X)], X[np.isfinite(X)])


def test_no_warning_on_the_ordinary_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MontageMapper(info=info_of(CAP19), target=CAP64, missing="interpolate").fit_transform(
            signals(19)
        )


def test_report_reads_well():
    info = info_of(["EEG T3-REF", "EEG Cz-REF", "ECG", "Oz"])
    mapper = MontageMapper(info=info, target=["T7", "Cz", "Pz"], missing="nan").fit(signals(4))
    told = str(mapper.report_)
    assert "EEG T3-REF as T7" in told
    assert "missing (1): Pz" in told
    assert "Oz (not in the target)" in told
    assert mapper.report_.to_dict()["target"] == "3 electrodes"
