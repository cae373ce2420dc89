"""What every model of the suite must do, one function per promise."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eegfound.base import ChannelInfo, RandomWeightsWarning, SpecError, UnitError
from eegfound.models import FoundationModel

#: A 10-20 montage, front to back, as MNE writes the names.
TEN_TWENTY = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8",
    "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What is checked: a model in one size with random weights.

    Attributes
    ----------
    model : FoundationModel
        The model.
    size : str
        The size used for the checks.
    """

    model: FoundationModel
    size: str

    def transformer(self, **params: Any) -> Any:
        """Return an unfitted Transformer with random weights."""
        from eegfound.estimators import make_transformer

        return make_transformer(self.model.name, size=self.size, checkpoint=None, **params)

    def classifier(self, **params: Any) -> Any:
        """Return an unfitted Classifier with random weights."""
        from eegfound.estimators import make_classifier

        return make_classifier(self.model.name, size=self.size, checkpoint=None, **params)

    def regressor(self, **params: Any) -> Any:
        """Return an unfitted Regressor with random weights."""
        from eegfound.estimators import make_regressor

        return make_regressor(self.model.name, size=self.size, checkpoint=None, **params)

    @property
    def info(self) -> ChannelInfo:
        """A montage the model takes, at the model's rate."""
        from eegfound.montage import match_vocabulary

        spec = self.model.input
        if spec.vocabulary is None:
            names = list(TEN_TWENTY)
        elif not spec.accepts_missing:
            names = list(spec.vocabulary)
        else:
            rows = match_vocabulary(TEN_TWENTY, spec.vocabulary).rows
            names = [name for name, row in zip(TEN_TWENTY, rows) if row >= 0]
            names = names or list(spec.vocabulary[:8])
        return ChannelInfo(names, spec.sfreq)

    @property
    def n_times(self) -> int:
        """A window of two to four patches that one pass takes."""
        spec = self.model.input
        wanted = max(spec.shortest, 2 * spec.stride + spec.patch_samples)
        return wanted if spec.max_samples is None else min(wanted, spec.max_samples)

    def eeg(self, n: int = 5, *, n_times: int | None = None, n_channels: int | None = None) -> Any:
        """Return noise the size of EEG, in volts."""
        shape = (n, n_channels or self.info.n_channels, n_times or self.n_times)
        return 1e-5 * np.random.default_rng(7).standard_normal(shape)

    def batch(self, n: int = 4) -> Any:
        """Return epochs as the network and its objective take them."""
        import torch

        from eegfound.estimators._encode import Electrodes
        from eegfound.models.network import SignalBatch

        X = self.eeg(n)
        enc = self.transformer(info=self.info).fit(X)
        presence = enc.plan_.check(X)
        signal = enc.plan_.apply(X, presence)
        if enc.front_end_ is not None:
            signal = np.ascontiguousarray(enc.front_end_.transform(signal), dtype=np.float32)
        there = Electrodes.of(enc.plan_, presence[0])
        places = None if there.positions is None else torch.as_tensor(there.positions)
        return SignalBatch(torch.from_numpy(signal), torch.tensor(there.rows), there.names, places)


CHECKS: dict[str, Callable[[Subject], None]] = {}


def _check(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
    CHECKS[function.__name__.removeprefix("_")] = function
    return function


@_check
def _embeddings_are_finite_and_named(subject: Subject) -> None:
    enc = subject.transformer(info=subject.info).fit(subject.eeg())
    out = enc.transform(subject.eeg())
    assert out.dtype == np.float32, f"embeddings are {out.dtype}, not float32"
    assert out.ndim == 2, f"embeddings have shape {out.shape}"
    assert np.isfinite(out).all(), "embeddings hold NaN or infinity"
    assert len(set(enc.get_feature_names_out())) == out.shape[1], "feature names do not fit"
    assert np.abs(out[0] - out[1]).max() > 0, "two different epochs give one embedding"


@_check
def _default_arguments_work(subject: Subject) -> None:
    windows = subject.eeg(n_channels=1)[:, 0]
    assert np.isfinite(subject.transformer().fit_transform(windows)).all()


@_check
def _random_weights_are_announced(subject: Subject) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subject.transformer(info=subject.info).fit(subject.eeg(2))
    assert any(issubclass(w.category, RandomWeightsWarning) for w in caught), "nobody was warned"


@_check
def _precision_of_input_is_no_matter(subject: Subject) -> None:
    X = subject.eeg()
    enc = subject.transformer(info=subject.info).fit(X)
    np.testing.assert_allclose(
        enc.transform(X.astype(np.float32)), enc.transform(X), rtol=1e-2, atol=1e-3
    )


@_check
def _unit_is_checked_and_converted(subject: Subject) -> None:
    X = subject.eeg()
    volts = subject.transformer(info=subject.info).fit_transform(X)
    micro = subject.transformer(info=subject.info, unit="uV").fit_transform(X * 1e6)
    np.testing.assert_allclose(micro, volts, rtol=1e-2, atol=1e-3)
    try:
        subject.transformer(info=subject.info).fit(X * 1e6)
    except UnitError as error:
        told = str(error)
    else:
        raise AssertionError("microvolts were taken for volts")
    assert "unit='uV'" in told, f"the error does not name the unit that fits: {told}"


@_check
def _an_epoch_does_not_depend_on_its_neighbours(subject: Subject) -> None:
    X = subject.eeg(11)
    enc = subject.transformer(info=subject.info).fit(X)
    whole = enc.transform(X)
    alone = np.vstack([enc.transform(x[None]) for x in X])
    np.testing.assert_array_equal(alone, whole)
    other = enc.set_params(batch_size=3).transform(X)
    np.testing.assert_allclose(other, whole, rtol=1e-3, atol=1e-4)


@_check
def _channels_travel_with_their_names(subject: Subject) -> None:
    if subject.model.input.ordered_channels:
        return
    X, info = subject.eeg(), subject.info
    order = np.random.default_rng(1).permutation(info.n_channels)
    turned = info.replace(ch_names=[info.ch_names[i] for i in order])
    a = subject.transformer(info=info).fit_transform(X)
    b = subject.transformer(info=turned).fit_transform(X[:, order])
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@_check
def _missing_channels_are_left_out_or_refused(subject: Subject) -> None:
    if subject.model.front_end is not None:
        return  # its statistics see the missing channel; both fits differ rightly
    X, info = subject.eeg(), subject.info
    X[::2, 1] = np.nan
    enc = subject.transformer(info=info)
    if not subject.model.input.accepts_missing:
        try:
            enc.fit(X)
        except SpecError as error:
            told = str(error)
        else:
            raise AssertionError("a missing electrode was accepted")
        assert "interpolate" in told, f"the error shows no way out: {told}"
        return
    mixed = enc.fit_transform(X)
    keep = [i for i in range(info.n_channels) if i != 1]
    fewer = info.replace(ch_names=[info.ch_names[i] for i in keep])
    without = subject.transformer(info=fewer).fit_transform(np.delete(X, 1, axis=1))
    np.testing.assert_allclose(mixed[::2], without[::2], rtol=1e-3, atol=1e-4)


@_check
def _bad_numbers_are_refused(subject: Subject) -> None:
    for bad in (np.nan, np.inf):
        X = subject.eeg(2)
        X[1, 0, 3] = bad
        try:
            subject.transformer(info=subject.info).fit(X)
        except SpecError:
            continue
        raise AssertionError(f"a sample that is {bad} was accepted")


@_check
def _short_windows_are_refused_or_padded(subject: Subject) -> None:
    X = subject.eeg(2, n_times=max(2, subject.model.input.shortest // 2))
    try:
        subject.transformer(info=subject.info).fit(X)
    except SpecError as error:
        told = str(error)
    else:
        raise AssertionError("a window that is too short was accepted silently")
    assert "on_short" in told, f"the error shows no way out: {told}"
    padded = subject.transformer(info=subject.info, on_short="pad").fit_transform(X)
    assert np.isfinite(padded).all()


@_check
def _long_windows_are_taken(subject: Subject) -> None:
    spec = subject.model.input
    longest = spec.max_samples or 4 * subject.n_times
    out = subject.transformer(info=subject.info).fit_transform(
        subject.eeg(2, n_times=longest + spec.patch_samples)
    )
    assert np.isfinite(out).all()


@_check
def _montages_work_or_say_what_to_do(subject: Subject) -> None:
    from eegfound.montage import get_layout

    caps = {
        "one channel": ("Cz",),
        "10-20": TEN_TWENTY,
        "64 channels": tuple(get_layout("1010-64").ch_names),
        "128 channels of an EGI net": tuple(f"E{i}" for i in range(1, 129)),
    }
    for cap, names in caps.items():
        X = 1e-5 * np.random.default_rng(3).standard_normal((2, len(names), subject.n_times))
        info = ChannelInfo(names, subject.model.input.sfreq)
        try:
            out = subject.transformer(info=info).fit_transform(X)
        except SpecError as error:
            told = str(error)
            assert "MontageMapper" in told or "info" in told, f"{cap}: no way out in: {told}"
        else:
            assert np.isfinite(out).all(), cap


@_check
def _a_forward_pass_changes_no_state(subject: Subject) -> None:
    enc = subject.transformer(info=subject.info).fit(subject.eeg())
    before = {k: v.clone() for k, v in enc.encoder_.network.state_dict().items()}
    enc.transform(subject.eeg())
    for key, value in enc.encoder_.network.state_dict().items():
        assert (value == before[key]).all(), f"{key} changed while embedding"


@_check
def _embedding_and_tuning_share_a_process(subject: Subject) -> None:
    X, y = subject.eeg(12), np.tile(["a", "b"], 6)
    X[1::2] *= 2
    enc = subject.transformer(info=subject.info).fit(X)
    before = enc.transform(X)
    for tuning in ("head", "full"):
        clf = subject.classifier(info=subject.info, tuning=tuning, max_epochs=2).fit(X, y)
        assert set(clf.predict(X)) <= {"a", "b"}
        np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1, atol=1e-6)
        if tuning == "full":
            losses = clf.net_.history[:, "train_loss"]
            assert np.isfinite(losses).all(), f"losses {losses}"
            moved = clf.net_.module_.network.state_dict()
            own = clf.encoder_.network.state_dict()
            assert any((moved[k] != own[k]).any() for k in own), "tuning changed no weight"
    np.testing.assert_array_equal(enc.transform(X), before)


@_check
def _fitted_estimators_survive_pickling(subject: Subject) -> None:
    from sklearn.base import clone

    X, y = subject.eeg(6), np.tile([0.5, 1.5], 3)
    for estimator in (subject.transformer(info=subject.info), subject.regressor(info=subject.info)):
        fitted = estimator.fit(X, y)
        method = "transform" if hasattr(fitted, "transform") else "predict"
        expected = getattr(fitted, method)(X)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(getattr(again, method)(X), expected)
        np.testing.assert_array_equal(getattr(clone(fitted).fit(X, y), method)(X), expected)


@_check
def _every_parameter_has_a_depth(subject: Subject) -> None:
    network = subject.transformer(info=subject.info).fit(subject.eeg(2)).encoder_.network
    depths = {name: network.layer_index(name) for name, _ in network.named_parameters()}
    top = network.n_layers + 1
    wrong = {name: depth for name, depth in depths.items() if not 0 <= depth <= top}
    assert not wrong, f"depths outside 0…{top}: {wrong}"
    assert len(set(depths.values())) > 1, "all parameters have the same depth"
    for promise in ("no_weight_decay", "readout_parameters"):
        unknown = getattr(network, promise)() - set(depths)
        assert not unknown, f"{promise} names no parameter: {unknown}"


@_check
def _read_outs_work(subject: Subject) -> None:
    X = subject.eeg(3)
    for pooling in subject.model.poolings:
        out = subject.transformer(info=subject.info, pooling=pooling).fit_transform(X)
        assert np.isfinite(out).all(), pooling
    for layer in (0, -1):
        out = subject.transformer(info=subject.info, layer=layer).fit_transform(X)
        assert np.isfinite(out).all(), f"layer={layer}"


@_check
def _the_objective_learns(subject: Subject) -> None:
    if subject.model.objective is None:
        return
    import torch

    from eegfound.models import load_object
    from eegfound.models.randomness import seeded_torch
    from eegfound.nn import Losses, Objective

    batch = subject.batch()
    with seeded_torch(0):
        objective = load_object(subject.model.objective)(**subject.model.sizes[subject.size])
        assert isinstance(objective, Objective), f"{type(objective)} is no eegfound.nn.Objective"
        objective.prepare(batch)
        objective.start_epoch(0, 1)
        optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], 1e-3)

        def step() -> float:
            torch.manual_seed(0)  # the same dropout each time
            losses = objective(batch, generator=torch.Generator().manual_seed(0))
            assert isinstance(losses, Losses), "losses have no total"
            optimizer.zero_grad()
            losses.total.backward()
            return float(losses.total.detach())

        first, again = step(), step()
        assert np.isfinite(first), f"the loss is {first}"
        assert first == again, f"one seed gives two losses, {first} and {again}"
        moved = [p.grad is not None and p.grad.any() for p in objective.encoder.parameters()]
        assert any(moved), "the encoder gets no gradient"
        totals = []
        for i in range(6):
            optimizer.step()
            objective.after_step((i + 1) / 6)
            totals.append(step())
    assert min(totals[3:]) < first, f"six steps on one batch raise the loss: {first}, {totals}"
    unknown = objective.no_weight_decay() - {name for name, _ in objective.named_parameters()}
    assert not unknown, f"the objective's no_weight_decay names no parameter: {unknown}"


@_check
def _declared_sizes_can_be_built(subject: Subject) -> None:
    import torch

    for size in subject.model.sizes:
        with torch.device("meta"):
            network = subject.model.build(size)
        assert network.width > 0
        assert network.n_layers > 0
