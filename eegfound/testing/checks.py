"""What every encoder of the suite must do, one function per promise."""

from __future__ import annotations

import warnings

import numpy as np

from eegfound.base import ChannelInfo, RandomWeightsWarning, SpecError, UnitError
from eegfound.testing.subject import TEN_TWENTY, Subject, check


@check
def _embeddings_are_finite_and_named(subject: Subject) -> None:
    enc = subject.transformer(info=subject.info).fit(subject.eeg())
    out = enc.transform(subject.eeg())
    assert out.dtype == np.float32, f"embeddings are {out.dtype}, not float32"
    assert out.ndim == 2, f"embeddings have shape {out.shape}"
    assert np.isfinite(out).all(), "embeddings hold NaN or infinity"
    assert len(set(enc.get_feature_names_out())) == out.shape[1], "feature names do not fit"
    assert np.abs(out[0] - out[1]).max() > 0, "two different epochs give one embedding"


@check
def _default_arguments_work(subject: Subject) -> None:
    windows = subject.eeg(n_channels=1)[:, 0]
    assert np.isfinite(subject.transformer().fit_transform(windows)).all()


@check
def _random_weights_are_announced(subject: Subject) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subject.transformer(info=subject.info).fit(subject.eeg(2))
    assert any(issubclass(w.category, RandomWeightsWarning) for w in caught), "nobody was warned"


@check
def _precision_of_input_is_no_matter(subject: Subject) -> None:
    X = subject.eeg()
    enc = subject.transformer(info=subject.info).fit(X)
    np.testing.assert_allclose(
        enc.transform(X.astype(np.float32)), enc.transform(X), rtol=1e-2, atol=1e-3
    )


@check
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


@check
def _an_epoch_does_not_depend_on_its_neighbours(subject: Subject) -> None:
    X = subject.eeg(11)
    enc = subject.transformer(info=subject.info).fit(X)
    whole = enc.transform(X)
    alone = np.vstack([enc.transform(x[None]) for x in X])
    np.testing.assert_array_equal(alone, whole)
    other = enc.set_params(batch_size=3).transform(X)
    np.testing.assert_allclose(other, whole, rtol=1e-3, atol=1e-4)


@check
def _channels_travel_with_their_names(subject: Subject) -> None:
    if subject.model.input.ordered_channels:
        return
    X, info = subject.eeg(), subject.info
    order = np.random.default_rng(1).permutation(info.n_channels)
    turned = info.replace(ch_names=[info.ch_names[i] for i in order])
    a = subject.transformer(info=info).fit_transform(X)
    b = subject.transformer(info=turned).fit_transform(X[:, order])
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@check
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


@check
def _bad_numbers_are_refused(subject: Subject) -> None:
    for bad in (np.nan, np.inf):
        X = subject.eeg(2)
        X[1, 0, 3] = bad
        try:
            subject.transformer(info=subject.info).fit(X)
        except SpecError:
            continue
        raise AssertionError(f"a sample that is {bad} was accepted")


@check
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


@check
def _long_windows_are_taken(subject: Subject) -> None:
    spec = subject.model.input
    longest = spec.max_samples or 4 * subject.n_times
    out = subject.transformer(info=subject.info).fit_transform(
        subject.eeg(2, n_times=longest + spec.patch_samples)
    )
    assert np.isfinite(out).all()


@check
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


@check
def _a_forward_pass_changes_no_state(subject: Subject) -> None:
    enc = subject.transformer(info=subject.info).fit(subject.eeg())
    before = {k: v.clone() for k, v in enc.encoder_.network.state_dict().items()}
    enc.transform(subject.eeg())
    for key, value in enc.encoder_.network.state_dict().items():
        assert (value == before[key]).all(), f"{key} changed while embedding"


@check
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


@check
def _read_outs_work(subject: Subject) -> None:
    X = subject.eeg(3)
    for pooling in subject.model.poolings:
        out = subject.transformer(info=subject.info, pooling=pooling).fit_transform(X)
        assert np.isfinite(out).all(), pooling
    for layer in (0, -1):
        out = subject.transformer(info=subject.info, layer=layer).fit_transform(X)
        assert np.isfinite(out).all(), f"layer={layer}"


@check
def _declared_sizes_can_be_built(subject: Subject) -> None:
    import torch

    for size in subject.model.sizes:
        with torch.device("meta"):
            network = subject.model.build(size)
        assert network.width > 0
        assert network.n_layers > 0
