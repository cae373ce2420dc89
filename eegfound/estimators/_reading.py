"""How estimators take windows: arrays or Epochs, checked against the model's contract."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from eegfound.base import (
    ModelNotFoundError,
    SignalWarning,
    SpecError,
    as_3d,
    as_channel_info,
    epochs_to_array,
    is_epochs,
    refuse_continuous,
    unit_factor,
)
from eegfound.estimators._inputs import InputPlan, plan_input
from eegfound.models import FoundationModel, get_model, list_models, load_object


class WindowEstimator(BaseEstimator):
    """An estimator of a model that is given windows; not for direct use.

    Subclasses list these constructor parameters among their own: ``model,
    info, unit, on_unknown, on_short, model_params``.
    """

    #: Model of a plugin's named class (``LaBraMTransformer``); None asks for ``model=``.
    default_model: str | None = None
    # With metadata routing, ask for groups without being told to: what splits by
    # subject around us hands them on.
    __metadata_request__fit: ClassVar = {"groups": True}

    def _model(self) -> FoundationModel:
        name = self.model or self.default_model
        if name is None:
            raise SpecError(f"model=None: name one of the installed models, {list_models()}.")
        return get_model(name)

    def _read(self, X: Any, *, reset: bool, y: Any = "no_validation") -> Any:
        """Return the array (and y) of whatever the user passed, validated.

        Sets ``plan_`` when ``reset``; afterwards Epochs are brought to the
        channel order of ``fit`` by name.
        """
        info = None if self.info is None else as_channel_info(self.info)
        unit = self.unit
        refuse_continuous(X)
        if is_epochs(X):
            X, epochs_info = epochs_to_array(X)
            unit = "V"  # MNE keeps EEG in volts, whatever unit= says about arrays
            X, info = self._align_epochs(X, epochs_info, info, reset=reset)
        checked = validate_data(
            self,
            X,
            **({} if isinstance(y, str) and y == "no_validation" else {"y": y}),
            reset=reset,
            allow_nd=True,
            dtype=[np.float64, np.float32],  # what has no dtype is kept in full
            ensure_all_finite=False,
            **self._y_options(y),
        )
        X, y_checked = checked if isinstance(checked, tuple) else (checked, None)
        X = as_3d(X, info=info)
        if reset:
            model, info = self._input_model(info, X.shape[1])
            plan = plan_input(
                model, info, n_channels=X.shape[1], unit=unit,
                on_unknown=self.on_unknown, on_short=self.on_short,
            )  # fmt: skip
            self.plan_: InputPlan = plan
            self.ch_names_ = list(plan.names)
            self.n_times_in_ = int(X.shape[-1])
        elif X.shape[1] != self.plan_.info.n_channels:
            raise SpecError(
                f"X has {X.shape[1]} channels, but {type(self).__name__} was fitted with "
                f"{self.plan_.info.n_channels}."
            )
        if unit != self.plan_.unit:
            # Arrays in fit and Epochs in predict (or the reverse) mix units:
            # bring the values to the unit of the plan.
            X = X * unit_factor(unit, self.plan_.unit)
        return X if y_checked is None else (X, y_checked)

    def _input_model(self, info: Any, n_channels: int) -> tuple[FoundationModel, Any]:
        """Return the declaration whose input contract counts, and the facts of the array."""
        return self._model(), info

    def _y_options(self, y: Any) -> dict[str, Any]:
        return {}

    def _align_epochs(
        self, X: np.ndarray, found: Any, info: Any, *, reset: bool
    ) -> tuple[Any, Any]:
        """Check Epochs against ``info``, or against what was seen in ``fit``."""
        wanted = info if reset else self.plan_.info
        if wanted is None:
            return X, found
        # What these Epochs call bad was not recorded in them, whatever fit saw.
        bad = sorted(set(found.bads) & set(wanted.ch_names) - set(wanted.bads))
        if bad:
            warnings.warn(
                f"The Epochs mark {bad} as bad: treated as not recorded.",
                SignalWarning,
                stacklevel=4,
            )
            X = X.copy()
            X[:, [found.ch_names.index(name) for name in bad]] = np.nan
        if abs(wanted.sfreq - found.sfreq) > 1e-6 * wanted.sfreq:
            raise SpecError(
                f"The Epochs have sfreq={found.sfreq:g} Hz but "
                + (
                    f"info says {wanted.sfreq:g} Hz: pass info=epochs.info, or leave info out."
                    if reset
                    else f"fit saw {wanted.sfreq:g} Hz: resample them with "
                    f"epochs.resample({wanted.sfreq:g})."
                )
            )
        used = wanted.ch_names if reset else [wanted.ch_names[i] for i in self.plan_.picks]
        missing = [name for name in used if name not in found.ch_names]
        if missing:
            raise SpecError(
                f"The Epochs lack the channel(s) {missing} that "
                f"{'info names' if reset else 'fit used'}."
            )
        if tuple(found.ch_names) == tuple(wanted.ch_names):
            return X, wanted
        # By name; what is not there is not used (EOG, triggers) and stays NaN.
        aligned = np.full((len(X), wanted.n_channels, X.shape[-1]), np.nan, dtype=X.dtype)
        for slot, name in enumerate(wanted.ch_names):
            if name in found.ch_names:
                aligned[:, slot] = X[:, found.ch_names.index(name)]
        return aligned, wanted

    def _effective(self, name: str) -> Any:
        """Return a parameter that a recipe may set, as it counts."""
        return getattr(self, name)

    def _params_for(self, *, front_end: bool) -> dict[str, Any]:
        """Return the part of ``model_params`` for the network, or for the front end."""
        names = self._model().front_end_options
        params = self._effective("model_params") or {}
        return {k: v for k, v in params.items() if (k in names) == front_end}

    def _fit_front_end(
        self, X: np.ndarray, presence: np.ndarray, groups: Any = None, sample_weight: Any = None
    ) -> None:
        path = self._model().front_end
        self.front_end_ = None
        if path is not None:
            # Options that the weights were trained with, where the user says nothing else.
            trained_with = getattr(getattr(self, "encoder_", None), "front_end", {})
            options = {**trained_with, **self._params_for(front_end=True)}
            front_end = load_object(path)(self.plan_, **options)
            signal = self.plan_.apply(X, presence)
            self.front_end_ = front_end.fit(signal, groups=groups, sample_weight=sample_weight)

    def _presence(self, X: np.ndarray) -> np.ndarray:
        """Check an array, and return which channels were recorded in each epoch."""
        cache = getattr(self, "cache", None)
        if cache is None or cache is False:
            return self.plan_.check(X)
        from eegfound.cache.memory import check_once

        return check_once(self.plan_, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _poor_score(self) -> bool:
        try:
            return self._model().poor_score
        except (ModelNotFoundError, SpecError):  # fit will say so; tags must not
            return False
