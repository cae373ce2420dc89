"""Two caps in one array, from raw windows to a score."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import eegfound as ef
from eegfound.base import SpecError

CAP_A = ("Fp1", "Fp2", "F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2")
CAP_B = ("AF3", "AF4", "F7", "F8", "FC5", "FC6", "T7", "T8", "P7", "P8", "O1", "O2")


def recording(names, rng, n=40):
    """Return windows in which alpha is strong behind, or not."""
    times = np.arange(400) / 200
    X = 5e-6 * rng.standard_normal((n, len(names), len(times)))
    y = np.tile([0, 1], n // 2)
    behind = [i for i, name in enumerate(names) if name.startswith(("O", "P"))]
    alpha = 1.5e-5 * np.sin(2 * np.pi * 10 * times)
    X[np.ix_(np.flatnonzero(y), behind)] += alpha
    return X, y


@pytest.fixture
def two_caps(rng):
    (Xa, ya), (Xb, yb) = recording(CAP_A, rng), recording(CAP_B, rng)
    info_a, info_b = ef.ChannelInfo(CAP_A, 200), ef.ChannelInfo(CAP_B, 200)
    return Xa, Xb, info_a, info_b, np.concatenate([ya, yb])


def joined(Xa, Xb, info_a, info_b):
    layout = ef.union_layout(info_a, info_b)
    mapper_a, mapper_b = (
        ef.MontageMapper(info=i, target=layout, missing="nan") for i in (info_a, info_b)
    )
    return layout, np.concatenate([mapper_a.fit_transform(Xa), mapper_b.fit_transform(Xb)])


def judge(pipe, X, y):
    order = np.random.default_rng(1).permutation(len(X))
    scores = cross_val_score(pipe, X[order], y[order], cv=4)
    assert scores.mean() > 0.9, scores
    pipe.fit(X, y)
    encoder = pipe[0]
    assert np.isnan(X).any()
    embedded = encoder.transform(X)
    assert embedded.shape == (len(X), 18 * 64)
    assert np.isfinite(embedded).all()


def test_two_caps_in_one_array(two_caps, published_layout):
    *caps, y = two_caps
    layout, X = joined(*caps)
    encoder = ef.make_transformer("mmm", checkpoint=published_layout, info=layout.info(sfreq=200))
    judge(make_pipeline(encoder, LogisticRegression(max_iter=500)), X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_two_caps_in_one_array_verbatim(two_caps):
    Xa, Xb, info_a, info_b, y = two_caps
    layout = ef.union_layout(info_a, info_b)
    mapper_a, mapper_b = (
        ef.MontageMapper(info=i, target=layout, missing="nan") for i in (info_a, info_b)
    )
    X = np.concatenate([mapper_a.fit_transform(Xa), mapper_b.fit_transform(Xb)])
    pipe = make_pipeline(
        ef.make_transformer("mmm", info=layout.info(sfreq=200)), LogisticRegression()
    )
    judge(pipe, X, y)
    assert pipe[0].weights_ == "mmm-small-open"


def test_only_the_electrodes_of_an_epoch_are_used(two_caps, published_layout):
    Xa, Xb, info_a, info_b, _ = two_caps
    layout, X = joined(Xa, Xb, info_a, info_b)
    encoder = ef.make_transformer("mmm", checkpoint=published_layout, info=layout.info(sfreq=200))
    encoder.fit(X)
    both = encoder.transform(X)
    # The same encoder and statistics, with the other cap's electrodes taken away.
    alone = np.full_like(X[:40], np.nan)
    alone[:, [layout.ch_names.index(name) for name in CAP_A]] = Xa
    np.testing.assert_array_equal(encoder.transform(alone), both[:40])
    filled = X[:40].copy()
    filled[np.isnan(filled)] = 0
    assert np.abs(encoder.transform(filled) - both[:40]).max() > 0.1


def test_riemann_asks_for_interpolation(two_caps):
    *caps, y = two_caps
    layout, X = joined(*caps)
    riemann = ef.baselines.make_baseline("tangent_space", info=layout.info(sfreq=200))
    with pytest.raises(SpecError, match="interpolate"):
        riemann.fit(X, y)
