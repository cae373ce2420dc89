"""Two encoders and Riemann in one: a union, a vote, and stacks.

The inner folds of scikit-learn's stack cut through subjects, so that its final
estimator learns to trust whatever recognizes people;
``GroupedStackingClassifier`` keeps them apart. The encoders are the small ones that
ship with their plugins: take the scores as an illustration.
"""

from __future__ import annotations

import tempfile

import numpy as np
from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

import eegfound as ef
from eegfound.model_selection import GroupedStackingClassifier

X, y, groups, info = ef.datasets.load_sample(subjects=range(8))


def classify(features):
    """Return features, scaled, and a linear classifier."""
    return make_pipeline(features, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


cache = tempfile.TemporaryDirectory()  # every window is encoded once, in all folds together
options = {"info": info, "cache": cache.name}
labram = ef.make_transformer("labram", **options)
eegpt = ef.make_transformer("eegpt", **options)
riemann = make_pipeline(Covariances("oas"), TangentSpace())
members = [(name, classify(f)) for name, f in (("labram", labram), ("eegpt", eegpt))]
members.append(("riemann", classify(riemann)))

pipelines = {f"{name} alone": pipeline for name, pipeline in members} | {
    "union of features": classify(make_union(labram, eegpt, riemann)),
    "vote, Riemann counts twice": VotingClassifier(members, voting="soft", weights=[1, 1, 2]),
    "stack, folds cut subjects": StackingClassifier(members, LogisticRegression(), cv=3),
    "stack, folds keep subjects": GroupedStackingClassifier(members, LogisticRegression(), cv=3),
    "guessing": DummyClassifier(strategy="stratified", random_state=0),
}
print(f"Balanced accuracy, mean ± spread over {len(np.unique(groups))} subjects")
for name, pipeline in pipelines.items():
    inner = {"groups": groups} if isinstance(pipeline, GroupedStackingClassifier) else {}
    predicted = cross_val_predict(
        pipeline, X, y, groups=groups, cv=GroupKFold(4), params=inner, n_jobs=2
    )
    people = [
        balanced_accuracy_score(y[groups == g], predicted[groups == g]) for g in np.unique(groups)
    ]
    print(f"{name:27} {np.mean(people):.3f} ± {np.std(people, ddof=1):.3f}")
