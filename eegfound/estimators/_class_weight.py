"""The weight that its class gives an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight


def weights_of_classes(class_weight: Any, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a factor per epoch.

    Parameters
    ----------
    class_weight : dict | "balanced" | None
        Weight of each class. ``"balanced"`` gives all classes the same sum of
        weights, so that repeating an epoch and doubling its weight are the
        same (scikit-learn's own formula counts epochs).
    y : ndarray, shape (n_epochs,)
        Labels.
    weight : ndarray, shape (n_epochs,)
        Weight of each epoch.

    Returns
    -------
    ndarray, shape (n_epochs,)
        Factors on ``weight``.
    """
    if not (isinstance(class_weight, str) and class_weight == "balanced"):
        return compute_sample_weight(class_weight, y)
    classes, codes = np.unique(y, return_inverse=True)
    mass = np.bincount(codes, weights=weight, minlength=len(classes))
    return weight.sum() / (np.count_nonzero(mass) * np.where(mass > 0, mass, 1.0))[codes]
