"""Is fine-tuning worth it? Head and full tuning as a hyper-parameter.

The small encoder that ships with the plugin keeps the example quick; pass
``checkpoint="labram-base"`` for the real question.
"""

from __future__ import annotations

from sklearn.model_selection import GridSearchCV, GroupKFold

import eegfound as ef

X, y, groups, info = ef.datasets.load_sample(subjects=range(4))
clf = ef.make_classifier(
    "labram", info=info, class_weight="balanced",
    layer_decay=0.65, max_epochs=4, random_state=0,
)  # fmt: skip
search = GridSearchCV(
    clf, {"tuning": ["head", "full"]}, cv=GroupKFold(2), scoring="balanced_accuracy"
)
search.fit(X, y, groups=groups)
for params, mean, spread in zip(
    search.cv_results_["params"],
    search.cv_results_["mean_test_score"],
    search.cv_results_["std_test_score"],
):
    print(f"{params['tuning']:6} {mean:.3f} ± {spread:.3f}")
losses = search.best_estimator_.net_.history[:, "train_loss"]
print("training losses of the better one:", " ".join(f"{loss:.3f}" for loss in losses))
