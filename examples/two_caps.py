"""Recordings of two caps in one array: NaN means "not recorded".

The first half of the sample pretends to come from a cap of the front and the
middle, the second from one of the middle and the back. Each window is encoded
from the electrodes it has; a Riemannian pipeline needs them interpolated.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import eegfound as ef

X, y, groups, info = ef.datasets.load_sample(subjects=range(8))
front = [i for i, name in enumerate(info.ch_names) if name[0] in "FC"]
back = [i for i, name in enumerate(info.ch_names) if name[0] in "CPTO"]
first = groups < 4
info_a = ef.ChannelInfo([info.ch_names[i] for i in front], info.sfreq)
info_b = ef.ChannelInfo([info.ch_names[i] for i in back], info.sfreq)

layout = ef.union_layout(info_a, info_b)
mapper_a, mapper_b = (
    ef.MontageMapper(info=i, target=layout, missing="nan") for i in (info_a, info_b)
)
both = np.concatenate(
    [mapper_a.fit_transform(X[first][:, front]), mapper_b.fit_transform(X[~first][:, back])]
)
y, groups = np.concatenate([y[first], y[~first]]), np.concatenate([groups[first], groups[~first]])
joint = layout.info(sfreq=info.sfreq)
print(f"{both.shape[1]} electrodes in all, {100 * np.isnan(both).mean():.0f} % not recorded")

encoder = ef.make_transformer("labram", info=joint)
foundation = make_pipeline(encoder, StandardScaler(), LogisticRegression(max_iter=1000))
filled = make_pipeline(
    ef.MontageMapper(info=joint, target=layout, missing="interpolate"),
    ef.baselines.make_baseline("tangent_space", info=joint),
)
for name, pipe in {
    "LaBraM + LR": foundation,
    "interpolated, Riemann": filled,
}.items():
    scores = cross_val_score(pipe, both, y, groups=groups, cv=GroupKFold(4))
    print(f"{name:32} {scores.mean():.3f} ± {scores.std():.3f}")
