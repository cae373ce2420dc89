"""Windows of a corpus: the right samples, in the model's terms, whatever is read with them."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

from eegfound import ChannelInfo, MontageMapper
from eegfound.base import SignalWarning, SpecError
from eegfound.corpus import prepare_corpus
from eegfound.estimators._inputs import plan_input
from eegfound.models import InputSpec
from eegfound.testing.toy import ELECTRODES, toy_model
from tests.helpers_corpus import NAMES, signals, write_fif

CAP = ("Fz", "C3", "Cz", "C4", "Pz")
FIXED = toy_model(
    "fixed-cap",
    input=InputSpec(
        sfreq=100.0, patch_samples=50, unit="uV", vocabulary=CAP, accepts_missing=False
    ),
)
FFT = toy_model(
    "fft-cap",
    input=InputSpec(
        sfreq=90.0, patch_samples=90, max_samples=360, unit="mV", vocabulary=ELECTRODES,
        reference="average", resampling="fft",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four subjects: another cap, another rate, another order, an artefact."""
    folder = tmp_path_factory.mktemp("recordings")
    write_fif(folder / "1" / "a_raw.fif", signals(seconds=21))
    write_fif(folder / "1" / "b_raw.fif", signals(seconds=10, seed=1))
    write_fif(folder / "2" / "c_raw.fif", signals(3, 30, 128.0, seed=2), ("C4", "Cz", "X9"), 128.0)
    data = signals(seconds=32, seed=3)
    data[2, 1000:1010] = 5e-3
    write_fif(folder / "3" / "d_raw.fif", data, ("O1", "C4", "Cz", "C3", "Fp1"))
    write_fif(folder / "4" / "e_raw.fif", signals(6, 20, seed=4), ("O2", *CAP))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = prepare_corpus(folder, folder / "store", dataset="lab", subject="folder")
    assert done.failures == []
    return done.corpus


def quiet(corpus, *args, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SignalWarning)
        return corpus.source(*args, **params)


def windows(source, indices):
    """Return ``{window: (names, signal)}``."""
    found = {}
    for job in source.jobs(indices):
        for place, signal in zip(job.epochs, job.signal):
            found[indices[place]] = (job.electrodes.names, signal)
    assert len(found) == len(indices)
    return found


@pytest.mark.parametrize("model", [toy_model(), FFT])
def test_windows_are_those_of_the_suite_on_an_array(corpus, model):
    source = corpus.source(model, window_seconds=2.5)
    everything = windows(source, list(range(len(source))))
    number = 0
    for row in range(len(corpus)):
        data, info, rejected = corpus.read(row)
        length = round(2.5 * info.sfreq)
        plan = plan_input(
            model, ChannelInfo(info.ch_names, info.sfreq), n_channels=len(data), unit="V"
        )
        free = np.ones(data.shape[1], dtype=bool)
        for start, stop in rejected:
            free[start:stop] = False
        start = 0
        while start + length <= data.shape[1]:
            if not free[start : start + length].all():
                start += int(np.argmin(free[start : start + length])) or 1
                while start < len(free) and not free[start]:
                    start += 1
                continue
            X = data[np.newaxis, :, start : start + length]
            expected = plan.apply(X, plan.check(X))[0]
            names, signal = everything[number]
            # Channels stand in the order of the vocabulary, whatever the file's.
            order = np.argsort(plan.rows)
            assert names == tuple(plan.names[i] for i in order)
            if model.input.reference == "average":  # the order of a sum
                np.testing.assert_allclose(signal, expected[order], atol=1e-6)
            else:
                np.testing.assert_array_equal(signal, expected[order])
            number += 1
            start += length
    assert number == len(source)


def test_a_window_does_not_depend_on_what_is_read_with_it(corpus):
    source = corpus.source(FFT)
    order = np.random.default_rng(0).permutation(len(source)).tolist()
    together = windows(source, order)
    for window in order:
        ((names, alone),) = windows(source, [window]).values()
        assert names == together[window][0]
        np.testing.assert_array_equal(alone, together[window][1])


def test_jobs_are_grouped_and_ordered_by_the_windows_alone(corpus, toy):
    source = corpus.source("toy", window_seconds=2)
    order = np.random.default_rng(1).permutation(len(source))
    first = source.jobs(order)
    second = source.jobs(order[::-1])
    assert [j.electrodes.names for j in first] == [j.electrodes.names for j in second]
    assert len({j.electrodes.names for j in first}) == len(first) == 3
    assert source.n_montages == 4  # one of them the same electrodes in another order
    for job in first:
        assert job.signal.dtype == np.float32
        assert (np.diff(job.epochs) > 0).all()
        assert len(set(source.alike[order[job.epochs]])) == 1
    assert len(set(source.alike)) == len(first)
    for number in set(source.alike):
        assert len(source.jobs(np.flatnonzero(source.alike == number))) == 1


def test_windows_avoid_artefacts_and_overlap_as_asked(corpus, toy):
    whole = corpus.source("toy", subjects=["3"], window_seconds=2)
    assert len(whole) == 4 + 10  # 9.75 s before the artefact, 21.65 s after it
    half = corpus.source("toy", subjects=["3"], window_seconds=2, stride_seconds=1)
    assert len(half) == 8 + 20
    assert half.record()["hours"] < 0.01 > whole.record()["hours"]
    assert half.record()["n_windows"] == 28
    peak = max(np.abs(job.signal).max() for job in half.jobs(range(28)))
    assert peak < 1.5  # the artefact has 50 in the model's numbers


def test_groups_and_record(corpus, toy):
    source = corpus.source("toy", window_seconds=4, exclude=["lab/4"])
    assert source.groups.tolist() == ["lab/1"] * 7 + ["lab/2"] * 7 + ["lab/3"] * 7
    record = source.record()
    assert record["n_windows"] == 21
    (told,) = record["datasets"]
    assert (told["name"], told["subjects"], told["n_recordings"]) == ("lab", ["1", "2", "3"], 4)
    assert record["hours"] == pytest.approx(21 * 4 / 3600, abs=1e-3)
    by_file = corpus.source("toy", groups="recording")
    assert len(set(by_file.groups)) == 5
    assert set(corpus.source("toy", groups="dataset").groups) == {"lab"}


def test_digest_tells_what_would_change_the_training(corpus, toy):
    def digest(*args, **params):
        return quiet(corpus, *args, **params).digest()

    same = digest("toy", window_seconds=2)
    assert same == digest("toy", window_seconds=2)
    others = [
        digest("toy"), digest("toy", window_seconds=2, stride_seconds=1), digest(FFT),
        digest("toy", window_seconds=2, exclude=["2"]),
        digest("toy", window_seconds=2, groups="recording"),
    ]  # fmt: skip
    assert len({same, *others}) == 6


def test_it_can_be_pickled_and_read_in_workers_in_the_same_order(corpus, toy):
    from torch.utils.data import DataLoader

    source = corpus.source("toy", window_seconds=2)
    copy = pickle.loads(pickle.dumps(source))
    batches = np.array_split(np.random.default_rng(0).permutation(len(source)), 5)
    here = [source.jobs(batch) for batch in batches]
    assert len(pickle.dumps(source)) < 40_000  # shards stay where they are
    for other in (
        [copy.jobs(batch) for batch in batches],
        list(DataLoader(_Batches(source, batches), batch_size=None, num_workers=2,
                        collate_fn=list)),
    ):  # fmt: skip
        for mine, theirs in zip(here, other, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(a.epochs, b.epochs)
                np.testing.assert_array_equal(a.signal, b.signal)
                assert a.electrodes.names == b.electrodes.names


class _Batches:
    def __init__(self, source, batches):
        self.source, self.batches = source, batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, number):
        if number >= len(self.batches):
            raise IndexError
        return self.source.jobs(self.batches[number])


def test_a_fixed_layout_skips_what_lacks_electrodes_and_says_so(corpus):
    with pytest.warns(SignalWarning, match="4 of 5 recordings are not used"):
        source = corpus.source(FIXED)
    assert set(source.groups) == {"lab/4"}
    assert sum(count for _, count in source.skipped) == 4
    assert "missing" in source.skipped[0][0]
    (job,) = source.jobs([0])
    assert job.electrodes.names == CAP
    data = corpus.read(4)[0][1:, :400]
    np.testing.assert_allclose(job.signal[0], 1e6 * data, rtol=1e-5)
    with pytest.raises(SpecError, match="no window"):
        quiet(corpus, FIXED, subjects=["1"])
    with pytest.raises(SpecError, match="needs all its 5 electrodes"):
        corpus.source(FIXED, missing="raise")


def test_a_fixed_layout_can_be_interpolated(corpus):
    source = quiet(corpus, FIXED, missing="interpolate", subjects=["1", "4"])
    assert set(source.groups) == {"lab/1", "lab/4"}
    (job,) = source.jobs([0, len(source) - 1])
    data, info, _ = corpus.read(0)
    X = data[np.newaxis, :, :400]
    expected = MontageMapper(info=info, target=CAP, missing="interpolate").fit_transform(X)
    np.testing.assert_allclose(job.signal[0], 1e6 * expected[0], rtol=1e-4, atol=1e-3)


def test_unknown_electrodes_are_dropped_or_refused(corpus, toy):
    few = toy_model("few", input=InputSpec(sfreq=100.0, patch_samples=100, vocabulary=("C4",)))
    assert {j.electrodes.names for j in corpus.source(few).jobs([0, 25])} == {("C4",)}
    with pytest.raises(SpecError, match="on_unknown"):
        corpus.source(few, on_unknown="raise")
    none = toy_model("none", input=InputSpec(sfreq=100.0, patch_samples=100, vocabulary=("T9",)))
    with pytest.raises(SpecError, match="knows none of the channels"):
        corpus.source(none)


def test_positions_come_from_the_file_or_from_the_names(tmp_path, corpus):
    import mne

    placed = toy_model(
        "placed", input=InputSpec(sfreq=100.0, patch_samples=100, needs_positions=True)
    )
    (job, *_) = corpus.source(placed, subjects=["1"]).jobs([0])
    assert job.electrodes.positions.shape == (5, 3)
    raw = mne.io.RawArray(signals(), mne.create_info(list(NAMES), 100.0, "eeg"), verbose="error")
    own = {name: np.array([0.01 * i, 0.02, 0.09]) for i, name in enumerate(NAMES)}
    raw.set_montage(mne.channels.make_dig_montage(own, coord_frame="head"))
    (tmp_path / "in").mkdir()
    raw.save(tmp_path / "in" / "x_raw.fif", verbose="error")
    done = prepare_corpus(tmp_path / "in", tmp_path / "out", dataset="x", subject="file")
    (job,) = done.corpus.source(placed).jobs([0])
    expected = [own[name] for name in job.electrodes.names]
    np.testing.assert_allclose(job.electrodes.positions, expected, atol=1e-6)


class SpreadFrontEnd:
    """Standardized spread of each quarter of a window."""

    def __init__(self, plan, *, power=1.0):
        self.plan, self.power = plan, power

    def _raw(self, signal):
        parts = signal.reshape(*signal.shape[:2], 4, -1)
        return parts.std(axis=-1) ** self.power

    def fit(self, signal, groups=None, sample_weight=None):
        raw = self._raw(signal)
        self.seen_ = len(raw), raw.shape[1], sorted(set(groups))
        self.mean_, self.scale_ = np.nanmean(raw), np.nanstd(raw)
        return self

    def transform(self, signal):
        assert signal.shape[1] == self.seen_[1]
        return (self._raw(signal) - self.mean_) / self.scale_


def test_a_front_end_learns_from_windows_and_is_applied(corpus):
    model = toy_model(
        "spread", front_end=f"{__name__}:SpreadFrontEnd", front_end_options=("power",)
    )
    source = corpus.source(model, front_end_params={"power": 2.0})
    jobs = source.jobs(range(len(source)))
    assert {job.signal.shape[2:] for job in jobs} == {(4,)}
    assert all(np.isfinite(job.signal).all() for job in jobs)
    together = np.concatenate([job.signal.ravel() for job in jobs])
    assert abs(together.mean()) < 1e-3
    assert together.std() == pytest.approx(1, abs=1e-3)
    own = np.flatnonzero(source.groups == "lab/2")
    source.fit_front_end(own)
    assert source.front_end.seen_[2] == ["lab/2"]
    (job,) = source.jobs(own)
    assert job.signal.mean() == pytest.approx(0, abs=1e-3)


def test_lengths_a_model_cannot_take(corpus, toy):
    assert corpus.source("toy").window_seconds == 4
    for seconds in (0.5, 4.1):
        with pytest.raises(SpecError, match="takes windows of 1 to 4 s"):
            corpus.source("toy", window_seconds=seconds)
    with pytest.raises(SpecError, match="stride_seconds"):
        corpus.source("toy", stride_seconds=0)
    long = toy_model(
        "long",
        input=InputSpec(sfreq=100.0, patch_samples=100, window_seconds=(30.0, 30.0)),
    )
    with pytest.warns(SignalWarning, match="no stretch of 30 s"):
        assert set(corpus.source(long).groups) == {"lab/2"}


def test_subjects_are_selected_and_held_out(corpus):
    assert corpus.subjects == ["lab/1", "lab/2", "lab/3", "lab/4"]
    assert corpus.select(["lab/1", 3]).subjects == ["lab/1", "lab/3"]
    assert corpus.select(exclude="1").subjects == ["lab/2", "lab/3", "lab/4"]
    assert corpus.select(["lab/*"]).subjects == corpus.subjects
    with pytest.raises(SpecError, match="'9' is not in"):
        corpus.select(["9"])
    seen = set()
    for seed in range(8):
        train, held_out = corpus.split(0.25, seed=seed)
        assert len(held_out.subjects) == 1
        assert set(train.subjects) | set(held_out.subjects) == set(corpus.subjects)
        assert not set(train.subjects) & set(held_out.subjects)
        again = corpus.split(0.25, seed=seed)[1]
        assert again.subjects == held_out.subjects
        seen.update(held_out.subjects)
    assert len(seen) > 1
    with pytest.raises(SpecError, match="none can be held out"):
        corpus.select(["1"]).split(0.5)
