"""Where a head begins: at zero, or at a probe of the frozen features."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from eegfound.estimators._heads import Head


def start_ridge(
    head: Head, features: np.ndarray, y: np.ndarray, weight: np.ndarray, *, classes: bool
) -> None:
    """Set a linear head to the ridge regression of the targets, in closed form.

    The penalty is one hundredth of the features' mean variance. For classes
    the one-hot targets are regressed and the scores scaled by one number, the
    one with the least log loss.

    Parameters
    ----------
    head : Head
        Whose only learned map is one linear layer; its scaling is set.
    features : ndarray, shape (n_epochs, n_features)
        Frozen features.
    y : ndarray, shape (n_epochs,) or (n_epochs, n_outputs)
        Class indices, or targets.
    weight : ndarray, shape (n_epochs,)
        Weight of each epoch.
    classes : bool
        Whether ``y`` are classes.
    """
    layer, inputs = head.linear_part(torch.from_numpy(features).to(head.standardize.mean))
    Z = inputs.double().numpy()
    share = weight / weight.sum()
    target = np.eye(layer.out_features)[y] if classes else np.reshape(y, (len(y), -1))
    centre, mean = share @ Z, share @ target
    A, B = (Z - centre) * np.sqrt(share)[:, None], (target - mean) * np.sqrt(share)[:, None]
    penalty = 0.01 * max(float((A**2).sum(axis=0).mean()), 1e-12)
    if A.shape[1] <= len(A):
        W = np.linalg.solve(A.T @ A + penalty * np.eye(A.shape[1]), A.T @ B)
    else:  # fewer epochs than features: the dual is smaller
        W = A.T @ np.linalg.solve(A @ A.T + penalty * np.eye(len(A)), B)
    if classes:
        scores = (Z - centre) @ W
        prior, own = np.log(mean + 1e-12), (np.arange(len(y)), y)

        def log_loss(log_scale: float) -> float:
            return -float(share @ log_softmax(np.exp(log_scale) * scores + prior, axis=1)[own])

        scale = np.exp(minimize_scalar(log_loss, bounds=(-5, 7), method="bounded").x)
        W, offset = scale * W, prior
    else:
        offset = mean
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(W.T))
        layer.bias.copy_(torch.from_numpy(offset - centre @ W))


def start_probe(
    head: Head, features: np.ndarray, y: np.ndarray, weight: np.ndarray, *, criterion: Any,
    penalty: float, max_iter: int = 200,
) -> None:  # fmt: skip
    """Fit a head of any kind to the frozen features by L-BFGS, in float64.

    For a linear head and classes that is penalized logistic regression.

    Parameters
    ----------
    head, features, y, weight
        As in :func:`start_ridge`.
    criterion : callable
        Loss per epoch.
    penalty : float
        L2 penalty on the head's matrices.
    max_iter : int
        Steps.
    """
    double = copy.deepcopy(head).double().cpu().eval()
    Z, share = torch.from_numpy(features).double(), torch.from_numpy(weight / weight.sum())
    target = torch.from_numpy(y)
    trained = list(double.body.parameters())
    optimizer = torch.optim.LBFGS(
        trained, max_iter=max_iter, line_search_fn="strong_wolfe", tolerance_grad=1e-7
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        each = criterion(double(Z), target)
        loss = (each.reshape(len(each), -1).mean(dim=1) * share).sum()
        squares = [p.pow(2).sum() for p in trained if p.ndim > 1]
        loss = loss + 0.5 * penalty * torch.stack(squares).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        for own, found in zip(head.body.parameters(), trained):
            own.copy_(found)
