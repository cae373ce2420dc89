"""Can the probabilities be believed? Calibration on people not trained on.

Subjects are kept apart twice: between training and test, and between the
pipelines and what calibrates them. That needs metadata routing, which hands
``groups`` to the inner splitter. The encoder is the small one that ships with
its plugin: take its scores as an illustration.
"""

from __future__ import annotations

import tempfile

import numpy as np
import sklearn
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import eegfound as ef
from eegfound.benchmark.calibration import calibration_error, calibration_floor, reliability_table

sklearn.set_config(enable_metadata_routing=True)

X, y, groups, info = ef.datasets.load_sample(subjects=range(12))
classes, codes = np.unique(y, return_inverse=True)
cache = tempfile.TemporaryDirectory()  # every window is encoded once, in all folds together
encoder = ef.make_transformer("labram", info=info, cache=cache.name)
linear = [StandardScaler(), LogisticRegression(C=10, max_iter=5000)]
pipelines = {
    "LaBraM": make_pipeline(encoder, *linear),
    "Riemannian tangent space": make_pipeline(Covariances("oas"), TangentSpace(), *linear),
    "guessing": DummyClassifier(strategy="prior"),
}


def proba(pipeline):
    """Return probabilities for every window, from pipelines that never saw its subject."""
    return cross_val_predict(
        pipeline, X, y, cv=GroupKFold(4), params={"groups": groups}, method="predict_proba"
    )


def row(name, method, prob):
    """Print log loss (over subjects), calibration error and accuracy."""
    prob = prob.astype(float)
    prob /= prob.sum(axis=1, keepdims=True)  # sums to one in float64, too
    people = [
        log_loss(codes[groups == g], prob[groups == g], labels=[0, 1]) for g in np.unique(groups)
    ]
    print(
        f"{name:25} {method:12} {np.mean(people):5.3f} ± {np.std(people, ddof=1):5.3f}   "
        f"{calibration_error(y, prob, labels=classes):.3f} "
        f"({calibration_floor(prob):.3f})    "
        f"{balanced_accuracy_score(codes, prob.argmax(axis=1)):.3f}"
    )


print(
    f"{len(X)} windows, {len(np.unique(groups))} subjects. Log loss: mean ± spread over subjects.\n"
    "ECE: 15 bins, in brackets what perfect probabilities would have.\n"
    f"{'':25} {'calibration':12} log loss        ECE              balanced accuracy"
)
found = {}
for name, pipeline in pipelines.items():
    found[name, "none"] = proba(pipeline)
    row(name, "none", found[name, "none"])
    if name == "guessing":
        continue
    for method in ("sigmoid", "temperature"):
        calibrated = CalibratedClassifierCV(pipeline, method=method, cv=GroupKFold(3))
        found[name, method] = proba(calibrated)
        row(name, method, found[name, method])

for method in ("none", "sigmoid"):
    print(f"\nReliability of the Riemannian pipeline, calibration: {method}")
    table = reliability_table(
        y, found["Riemannian tangent space", method], labels=classes, n_bins=5, bins="mass"
    )
    print(table.round(3).to_string(index=False))
