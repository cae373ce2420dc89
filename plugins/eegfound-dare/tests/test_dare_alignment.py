"""Euclidean alignment."""

from __future__ import annotations

import numpy as np
import pytest
from eegfound_dare import EuclideanAligner, align, align_by_group
from sklearn.utils.estimator_checks import parametrize_with_checks

from eegfound.base import SpecError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 3, 200)) * np.array([1.0, 5.0, 0.2])[:, None]


def mean(aligned):
    return (aligned @ aligned.transpose(0, 2, 1)).mean(axis=0)


def test_aligned_windows_have_the_wanted_mean_covariance():
    np.testing.assert_allclose(mean(align(X)), np.eye(3), atol=1e-10)
    np.testing.assert_allclose(mean(align(X, scaling="time")) / 200, np.eye(3), atol=1e-4)
    target = np.diag([1.0, 2.0, 3.0]) + 0.5
    np.testing.assert_allclose(mean(align(X, target=target)), target, atol=1e-10)


def test_alignment_undoes_a_mixing_up_to_a_rotation():
    mixed = np.array([[1, 0.5, 0], [0, 2, 0.1], [0.3, 0, 1]]) @ X
    a, b = align(X), align(mixed)
    inner = a.transpose(0, 2, 1) @ a
    np.testing.assert_allclose(b.transpose(0, 2, 1) @ b, inner, atol=1e-9)


def test_directions_that_nobody_recorded_stay_empty():
    referenced = X - X.mean(axis=1, keepdims=True)
    aligned = align(referenced)
    assert np.isfinite(aligned).all()
    np.testing.assert_allclose(aligned.sum(axis=1), 0, atol=1e-6)
    assert np.linalg.matrix_rank(mean(aligned), tol=1e-6) == 2
    assert (align(np.zeros((2, 3, 5))) == 0).all()


def test_groups_are_aligned_on_their_own():
    groups = np.array(["a", "b"] * 4)
    out = align_by_group(X, groups)
    np.testing.assert_allclose(out[::2], align(X[::2]))
    np.testing.assert_allclose(out[1::2], align(X[1::2]))
    with pytest.raises(SpecError, match="groups has 3 entries"):
        align_by_group(X, [1, 2, 3])


def test_the_transformer_keeps_what_it_saw():
    aligner = EuclideanAligner().fit(X)
    np.testing.assert_allclose(aligner.transform(X), align(X))
    half = aligner.transform(X[:2].astype(np.float32))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, align(X)[:2], atol=1e-6)
    with pytest.raises(SpecError, match="scaling='both'"):
        EuclideanAligner("both").fit(X)
    with pytest.raises(SpecError, match="target has shape"):
        EuclideanAligner(target=np.eye(2)).fit(X)


@parametrize_with_checks([EuclideanAligner(), EuclideanAligner("trace")])
def test_scikit_learn_checks(estimator, check):
    check(estimator)
