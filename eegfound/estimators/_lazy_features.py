"""Features of many epochs that are only ever looked at some epochs at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.estimators._encode import check_features


class LazyFeatures:
    """Features in slices, computed by the frozen encoder when they are asked for.

    Tokens of all epochs would fill the memory where a training needs them only
    to scale its head.

    Parameters
    ----------
    estimator : FoundationEstimator
        With its encoder loaded.
    X : ndarray, shape (n_epochs, n_channels, n_times)
        The user's windows.
    presence : ndarray of bool, shape (n_epochs, n_used)
        Which used channels are recorded.
    reading : str
        What is read of the tokens.
    slices : tuple of int | None
        Slices and width of an epoch; None encodes one to know them.
    """

    ndim = 3

    def __init__(
        self, estimator: Any, X: np.ndarray, presence: np.ndarray, reading: str,
        slices: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        self.estimator, self.X, self.presence, self.reading = estimator, X, presence, reading
        if slices is None:
            slices = estimator._features(X[:1], presence[:1], reading=reading).shape[1:]
        self.shape = (len(X), *slices)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, rows: np.ndarray) -> LazyFeatures:
        """Return some of the epochs."""
        X, presence = self.X[rows], self.presence[rows]
        return LazyFeatures(self.estimator, X, presence, self.reading, self.shape[1:])

    def blocks(self, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and weights of some epochs each, for :meth:`Head.set_from_blocks`.

        Parameters
        ----------
        weight : Tensor, shape (n_epochs,)
            Weight of each epoch.

        Raises
        ------
        SpecError
            If the features hold NaN or infinity beyond what was not recorded.
        """
        for part, features in self.estimator._feature_blocks(
            self.X, self.presence, reading=self.reading
        ):
            check_features(features, self.presence[part], self.reading)
            yield torch.from_numpy(features).to(weight.device), weight[part]
