"""Encoding every epoch once, however many folds and pipelines use it.

A frozen encoder gives an epoch the same embedding in every fold. The steps
marked ``is_frozen_encoder`` are wrapped so that embeddings are looked up by
the bytes of the epoch; results are the same as without.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import FeatureUnion, Pipeline

from eegfound.benchmark.resources import Meter


@dataclass
class EmbeddingMemo:
    """Embeddings by encoder and epoch, and what they cost.

    Attributes
    ----------
    rows : dict
        Digest of encoder and epoch to embedding.
    seconds, epochs : dict
        Time spent and epochs encoded, per encoder.
    memory : dict
        Rise of memory while encoding in MB, per encoder.
    credit_seconds, credit_memory : float
        Since the last :meth:`start`: what computing would have cost where an
        embedding was looked up, and the memory that encoding takes. Added to
        the measured cost, so that folds and pipelines stay comparable.
    """

    rows: dict[bytes, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    credit_seconds: float = 0.0
    credit_memory: float = 0.0

    def __deepcopy__(self, _: Any) -> EmbeddingMemo:
        """Return itself: clones of an estimator share one memory."""
        return self

    def start(self) -> None:
        """Begin a new account."""
        self.credit_seconds = self.credit_memory = 0.0

    def transform(self, encoder: Any, X: np.ndarray) -> np.ndarray:
        """Return embeddings, computing only those that are not known."""
        identity = encoder_identity(encoder)
        keys = [
            blake2b(np.ascontiguousarray(epoch).tobytes(), key=identity.encode()[:64]).digest()
            for epoch in X
        ]
        new = list(dict.fromkeys(i for i, key in enumerate(keys) if key not in self.rows))
        if new:
            with Meter() as meter:
                embeddings = np.asarray(encoder.transform(X[new]))
            self.rows.update(zip((keys[i] for i in new), embeddings))
            self.seconds[identity] = self.seconds.get(identity, 0.0) + meter.seconds
            self.epochs[identity] = self.epochs.get(identity, 0) + len(new)
            self.memory[identity] = max(self.memory.get(identity, 0.0), meter.memory_mb)
        known = len(keys) - len(new)
        if known:
            per_epoch = self.seconds[identity] / self.epochs[identity]
            self.credit_seconds += known * per_epoch
        self.credit_memory = max(self.credit_memory, self.memory[identity])
        return np.stack([self.rows[key] for key in keys])


def encoder_identity(encoder: Any) -> str:
    """Return a digest of all that an embedding depends on besides the epoch."""
    params = encoder.get_params(deep=True)
    fingerprint = getattr(encoder, "fingerprint_", None)
    if fingerprint is not None:  # the tensors themselves say more than the seed they came from
        params.pop("random_state", None)
    return joblib.hash((type(encoder).__module__, type(encoder).__qualname__, params, fingerprint))


class EncodedOnce(TransformerMixin, BaseEstimator):
    """Frozen encoder that looks embeddings up before computing them.

    Parameters
    ----------
    encoder : estimator
        Transformer marked ``is_frozen_encoder``.
    memo : EmbeddingMemo
        Shared memory.
    """

    # As the encoders themselves: with metadata routing, ask for groups.
    __metadata_request__fit = {"groups": True}  # noqa: RUF012

    def __init__(self, encoder: Any, memo: EmbeddingMemo) -> None:
        self.encoder = encoder
        self.memo = memo

    def fit(self, X: np.ndarray, y: Any = None, groups: Any = None) -> EncodedOnce:
        """Fit the encoder (which checks the data and loads the weights)."""
        from eegfound.benchmark.routing import accepts_groups

        params = {"groups": groups} if accepts_groups(self.encoder, "fit") else {}
        self.encoder_ = clone(self.encoder).fit(X, y, **params)
        # A front end that learns from the training data ties embeddings to the fold.
        self.frozen_ = getattr(self.encoder_, "front_end_", None) is None
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return one embedding per epoch."""
        if not self.frozen_:
            return self.encoder_.transform(X)
        return self.memo.transform(self.encoder_, X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names that the encoder gives."""
        return self.encoder_.get_feature_names_out(input_features)


def remember(estimator: Any, memo: EmbeddingMemo) -> Any:
    """Return a clone of a pipeline whose frozen encoders share a memory."""
    wrapped = clone(estimator)
    encoders = {
        name: value
        for name, value in wrapped.get_params(deep=True).items()
        if isinstance(value, BaseEstimator) and getattr(value, "is_frozen_encoder", False)
    }
    return wrapped.set_params(**{name: EncodedOnce(e, memo) for name, e in encoders.items()})


def warm(estimator: Any, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """Encode all epochs for the encoders that stand first in a pipeline.

    Worker processes then start with the embeddings. An encoder that cannot
    take the data is left alone: its folds will record the error.

    Returns
    -------
    float
        Seconds spent.
    """
    begin = time.perf_counter()
    for encoder in _leading(estimator):
        try:
            encoder.fit(X, y, groups=groups).transform(X)
        except Exception:  # its folds will record it, with the whole traceback
            continue
    return time.perf_counter() - begin


def _leading(estimator: Any) -> Iterator[EncodedOnce]:
    """Yield the wrapped encoders that see the epochs as they are."""
    if isinstance(estimator, EncodedOnce):
        yield clone(estimator)
    elif isinstance(estimator, Pipeline):
        yield from _leading(estimator.steps[0][1])
    elif isinstance(estimator, FeatureUnion):
        for _, part in estimator.transformer_list:
            yield from _leading(part)
