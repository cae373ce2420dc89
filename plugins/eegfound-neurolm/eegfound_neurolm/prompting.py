"""Classification by asking which answer the language model would begin with."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from eegfound.base import SpecError
from eegfound_neurolm.estimators import NeuroLMTransformer
from eegfound_neurolm.vocabulary import byte_ids


class NeuroLMPromptClassifier(ClassifierMixin, BaseEstimator):
    """Classify windows by NeuroLM's answer to a question.

    A window, [SEP] and the question go through the language model once. The
    score of a class is the log-probability that its answer's first token comes
    next. Without calibration no label is needed at all (zero-shot); with it, a
    logistic regression on the scores is fitted.

    Parameters
    ----------
    prompt : sequence of int
        GPT-2 token ids of the question, up to "Answer:". The package has no
        tokenizer; get the ids once from one, for instance
        ``tiktoken.get_encoding("gpt2").encode("Question: … Answer:")``.
    options : sequence of sequence of int | None
        Token ids of the answer of each class, in the order of ``classes``. What
        all answers begin with counts as part of the question; the next token
        must differ. None: the letters A, B, … .
    classes : array-like | None
        Labels, in the order of ``options``. None: the sorted labels of ``y``.
    calibration : {"logistic", None}
        None answers with the most probable option as it is.
    C : float
        Inverse strength of the calibration's L2 penalty.
    size, checkpoint, pretrained, info, unit, on_unknown, on_short
        As in :class:`eegfound.FoundationTransformer`; ``"default"`` takes the published
        weights of size ``"base"``, since it needs words.
    batch_size, device, dtype, n_threads, model_params, random_state
        Likewise; ``model_params`` may not name ``features``, ``prompt`` or
        ``options``.

    Attributes
    ----------
    classes_ : ndarray
        Labels, sorted.
    transformer_ : NeuroLMTransformer
        Turns windows into scores of the options.
    calibrator_ : Pipeline | None
        The fitted calibration.
    n_features_in_ : int
        Channels of an array, or samples of one-channel windows.

    Notes
    -----
    The published weights answer what they were instructed to answer: zero-shot
    accuracy on other questions or wordings is not to be expected. A window of
    more than 1024 tokens (channels times seconds) is cut, and the scores of its
    pieces are averaged.

    Examples
    --------
    >>> from eegfound_neurolm import NeuroLMPromptClassifier, byte_ids
    >>> clf = NeuroLMPromptClassifier(
    ...     prompt=byte_ids("Asleep? ("), options=[byte_ids("N"), byte_ids("Y")],
    ...     classes=["awake", "asleep"], calibration=None,
    ... )
    >>> clf.calibration is None
    True
    """

    def __init__(
        self, *, prompt: Any = (), options: Any = None, classes: Any = None,
        calibration: str | None = "logistic", C: float = 1.0, size: str | None = None,
        checkpoint: Any = "default", pretrained: bool = True, info: Any = None, unit: str = "V",
        on_unknown: str = "raise", on_short: str = "raise", batch_size: int | None = None,
        device: str = "auto", dtype: str = "float32", n_threads: int | None = None,
        model_params: dict[str, Any] | None = None, random_state: Any = 0,
    ) -> None:  # fmt: skip
        self.prompt = prompt
        self.options = options
        self.classes = classes
        self.calibration = calibration
        self.C = C
        self.size = size
        self.checkpoint = checkpoint
        self.pretrained = pretrained
        self.info = info
        self.unit = unit
        self.on_unknown = on_unknown
        self.on_short = on_short
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.n_threads = n_threads
        self.model_params = model_params
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> NeuroLMPromptClassifier:
        """Load the language model and, where asked for, fit the calibration.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows of EEG in ``unit``.
        y : array-like, shape (n_epochs,) | None
            Labels; not needed with ``calibration=None`` and ``classes``.

        Returns
        -------
        NeuroLMPromptClassifier
            The estimator itself.
        """
        if self.calibration not in ("logistic", None):
            raise SpecError(f"calibration={self.calibration!r} must be 'logistic' or None.")
        if y is None and (self.calibration is not None or self.classes is None):
            raise SpecError(
                "NeuroLMPromptClassifier requires y to be passed, but the target y is None. "
                "Without labels it needs calibration=None and classes=[...]."
            )
        given = self._labels(y)
        order = self._classes(given)
        options = self._options(len(order))
        # The weights that ship with the plugin know no words.
        size = "base" if self.size is None and self.checkpoint == "default" else self.size
        self.transformer_ = NeuroLMTransformer(
            size=size, checkpoint=self.checkpoint, pretrained=self.pretrained, info=self.info,
            unit=self.unit, on_unknown=self.on_unknown, on_short=self.on_short,
            batch_size=self.batch_size, device=self.device, dtype=self.dtype,
            n_threads=self.n_threads, model_params=self._model_params(options, order),
            random_state=self.random_state,
        ).fit(X)  # fmt: skip
        self.n_features_in_ = self.transformer_.n_features_in_
        if hasattr(self.transformer_, "feature_names_in_"):
            self.feature_names_in_ = self.transformer_.feature_names_in_
        self.classes_ = np.sort(order)
        self.calibrator_ = None
        if given is not None:
            check_consistent_length(X, given)
        if self.calibration is not None:
            scores = self.transformer_.transform(X).astype(np.float64)
            logistic = LogisticRegression(C=self.C, max_iter=1000)
            self.calibrator_ = make_pipeline(StandardScaler(), logistic).fit(scores, given)
        return self

    @staticmethod
    def _labels(y: Any) -> np.ndarray | None:
        if y is None:
            return None
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        return y

    def _classes(self, y: np.ndarray | None) -> np.ndarray:
        if self.classes is None:
            return np.unique(np.asarray(y))
        classes = np.asarray(self.classes)
        if classes.ndim != 1 or len(np.unique(classes)) != len(classes):
            raise SpecError(f"classes={self.classes!r} must list each label once.")
        if y is not None:
            missing = sorted(set(np.unique(y).tolist()) - set(classes.tolist()))
            if missing:
                raise SpecError(f"y holds the labels {missing[:5]}, which classes does not list.")
        return classes

    def _options(self, n_classes: int) -> list[tuple[int, ...]]:
        if self.options is None:
            if n_classes > 26:
                raise SpecError(f"{n_classes} classes are more than letters: pass options=.")
            return [byte_ids(chr(ord("A") + i)) for i in range(n_classes)]
        if len(self.options) != n_classes:
            raise SpecError(
                f"options has {len(self.options)} answers for {n_classes} classes: give one for "
                "each class, in the order of classes (sorted labels where classes is None)."
            )
        return [tuple(option) for option in self.options]

    def _model_params(self, options: list[tuple[int, ...]], order: np.ndarray) -> dict[str, Any]:
        own = dict(self.model_params or {})
        taken = {"features", "prompt", "options"} & set(own)
        if taken:
            raise SpecError(f"model_params may not name {sorted(taken)} here.")
        by_label = tuple(options[i] for i in np.argsort(order, kind="stable"))
        return own | {"features": "prompt", "prompt": tuple(self.prompt), "options": by_label}

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return logarithms of class probabilities, ``(n_epochs, n_classes)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.
        """
        check_is_fitted(self, "transformer_")
        scores = self.transformer_.transform(X).astype(np.float64)
        if self.calibrator_ is not None:
            return self._all_classes(self.calibrator_.predict_log_proba(scores))
        # Averaged over pieces, log-probabilities need no longer sum to one.
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    def _all_classes(self, known: np.ndarray) -> np.ndarray:
        """Give classes that the calibration never saw the probability zero."""
        assert self.calibrator_ is not None
        if known.shape[1] == len(self.classes_):
            return known
        out = np.full((len(known), len(self.classes_)), -np.inf)
        out[:, np.searchsorted(self.classes_, self.calibrator_.classes_)] = known
        return out

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, ``(n_epochs, n_classes)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the most probable answer, ``(n_epochs,)``.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows.
        """
        scores = self.predict_log_proba(X)
        return self.classes_[scores.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # A few log-probabilities of an untrained network tell no blobs apart.
        tags.classifier_tags.poor_score = True
        return tags
