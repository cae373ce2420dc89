"""How many labelled windows does a new person need? Few-shot learning curves.

Every person is the new one in turn; k windows per class of theirs join the
training data of the others (or are all there is). The first windows are taken,
as a calibration run would, and the test windows are the same for every k.

Beware of what these curves show here: rest and arithmetic of a person were
recorded one after the other, so that shots also tell the two recordings apart,
not only the two states. The column k = 0 is free of that. The encoder is the
small one that ships with its plugin: take its scores as an illustration.
"""

from __future__ import annotations

import tempfile

from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import eegfound as ef
from eegfound.model_selection import few_shot_curve, summarize_curve

X, y, groups, info = ef.datasets.load_sample(subjects=range(8))
cache = tempfile.TemporaryDirectory()  # every window is encoded once, in all splits together
encoder = ef.make_transformer("labram", info=info, cache=cache.name)
linear = [StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)]
pipelines = {
    "LaBraM": make_pipeline(encoder, *linear),
    "Riemannian tangent space": make_pipeline(Covariances("oas"), TangentSpace(), *linear),
    "guessing": DummyClassifier(strategy="prior"),
}
for title, options in {
    "Shots, and all windows of the others": {"n_shots": (0, 1, 2, 4)},
    "The same, a shot weighs as much as 10 windows of others": {
        "n_shots": (0, 1, 2, 4),
        "shot_weight": 10,
    },
    "Shots only": {"n_shots": (1, 2, 4), "others": False},
}.items():
    curve = few_shot_curve(pipelines, X, y, groups, order="first", **options)
    table = summarize_curve(curve)
    table["score"] = [f"{m:.3f} ± {s:.3f}" for m, s in zip(table["mean"], table["sd_subjects"])]
    print(f"\n{title}: balanced accuracy, mean ± spread over {table['n_subjects'].max()} subjects")
    print(table.pivot(index="estimator", columns="n_shots", values="score").to_string())
