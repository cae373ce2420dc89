"""Foundation features and Riemann together: a union and a stack."""

from __future__ import annotations

from pyriemann.estimation import Covariances
from pyriemann.tangentspace import TangentSpace
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

import eegfound as ef

X, y, groups, info = ef.datasets.load_sample(subjects=range(8))
encoder = ef.make_transformer("labram", info=info)
riemann = make_pipeline(Covariances("oas"), TangentSpace())
pipelines = {
    "union": make_pipeline(
        make_union(encoder, riemann), StandardScaler(), LogisticRegression(max_iter=1000)
    ),
    "stack": StackingClassifier(
        [
            ("riemann", ef.baselines.make_baseline("tangent_space", info=info)),
            ("labram", make_pipeline(encoder, StandardScaler(), LogisticRegression(max_iter=1000))),
        ],
        cv=3,
    ),
    "Riemann alone": ef.baselines.make_baseline("tangent_space", info=info),
}
for name, pipe in pipelines.items():
    scores = cross_val_score(pipe, X, y, groups=groups, cv=GroupKFold(4))
    print(f"{name:14} {scores.mean():.3f} ± {scores.std():.3f}")
