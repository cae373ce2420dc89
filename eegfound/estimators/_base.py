"""What Transformer, Classifier and Regressor have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from eegfound.base import SpecError, as_3d, as_channel_info, epochs_to_array, is_epochs
from eegfound.estimators._encode import encode
from eegfound.estimators._handle import EncoderHandle, resolve_device, resolve_dtype
from eegfound.estimators._inputs import InputPlan, plan_input
from eegfound.estimators._pooling import POOLINGS
from eegfound.models import FoundationModel, get_model, load_object


class FoundationEstimator(BaseEstimator):
    """Common ground of the estimators; not for direct use.

    Subclasses list these constructor parameters among their own: ``model,
    size, checkpoint, pretrained, info, unit, pooling, layer, on_unknown,
    on_short, batch_size, device, dtype, n_threads, model_params, random_state``.
    """

    #: Model of a plugin's named class (``LaBraMTransformer``); None asks for ``model=``.
    default_model: str | None = None

    def _model(self) -> FoundationModel:
        name = self.model or self.default_model
        if name is None:
            from eegfound.models import list_models

            raise SpecError(f"model=None: name one of the installed models, {list_models()}.")
        return get_model(name)

    def _read(self, X: Any, *, reset: bool, y: Any = "no_validation") -> Any:
        """Return the array (and y) of whatever the user passed, validated.

        Sets ``plan_`` when ``reset``; afterwards Epochs are brought to the
        channel order of ``fit`` by name.
        """
        info = None if self.info is None else as_channel_info(self.info)
        unit = self.unit
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
            dtype=[np.float32, np.float64],
            ensure_all_finite=False,
            **self._y_options(y),
        )
        X, y_checked = checked if isinstance(checked, tuple) else (checked, None)
        X = as_3d(X, info=info)
        if reset:
            plan = plan_input(
                self._model(), info, n_channels=X.shape[1], unit=unit,
                on_unknown=self.on_unknown, on_short=self.on_short,
            )  # fmt: skip
            self.plan_: InputPlan = plan
            self.ch_names_ = list(plan.names)
        elif X.shape[1] != self.plan_.info.n_channels:
            raise SpecError(
                f"X has {X.shape[1]} channels, but {type(self).__name__} was fitted with "
                f"{self.plan_.info.n_channels}."
            )
        if unit != self.plan_.unit:
            # Arrays in fit and Epochs in predict (or the reverse) mix units:
            # bring the values to the unit of the plan.
            from eegfound.base import unit_factor

            X = X * unit_factor(unit, self.plan_.unit)
        return X if y_checked is None else (X, y_checked)

    def _y_options(self, y: Any) -> dict[str, Any]:
        return {}

    def _align_epochs(
        self, X: np.ndarray, found: Any, info: Any, *, reset: bool
    ) -> tuple[Any, Any]:
        """Check Epochs against ``info``, or against what was seen in ``fit``."""
        wanted = info if reset else self.plan_.info
        if wanted is None:
            return X, found
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
        missing = [name for name in wanted.ch_names if name not in found.ch_names]
        if missing:
            raise SpecError(
                f"The Epochs lack the channel(s) {missing} that "
                f"{'info names' if reset else 'fit saw'}."
            )
        order = [found.ch_names.index(name) for name in wanted.ch_names]
        return (X if order == list(range(X.shape[1])) else X[:, order]), wanted

    def _load_encoder(self) -> EncoderHandle:
        model = self._model()
        pooling = self.pooling or model.poolings[0]
        if pooling not in (*model.poolings, *POOLINGS):
            raise SpecError(
                f"pooling={pooling!r} is not a read-out of {model.name}: {model.poolings}."
            )
        checkpoint = self.checkpoint if self.pretrained else None
        seed = self.random_state
        if isinstance(seed, np.random.RandomState | np.random.Generator):
            draw = seed.randint if isinstance(seed, np.random.RandomState) else seed.integers
            seed = int(draw(2**31 - 1))
        handle = EncoderHandle.load(
            model, size=self.size, checkpoint=checkpoint, pooling=pooling,
            config=self.model_params, seed=0 if seed is None else int(seed),
        )  # fmt: skip
        n_layers = handle.network.n_layers
        if self.layer is not None and not -n_layers <= self.layer <= n_layers:
            raise SpecError(f"layer={self.layer} is not between {-n_layers} and {n_layers}.")
        self.encoder_ = handle
        self.fingerprint_ = handle.fingerprint
        self.weights_ = handle.weights
        self.load_report_ = handle.report
        return handle

    def _layer(self, handle: EncoderHandle) -> int | None:
        if self.layer is None or self.layer >= 0:
            return self.layer
        return handle.network.n_layers + 1 + self.layer

    def _fit_front_end(self, X: np.ndarray, presence: np.ndarray, groups: Any = None) -> None:
        path = self._model().front_end
        self.front_end_ = None
        if path is not None:
            front_end = load_object(path)(self.plan_, **(self.model_params or {}))
            signal = self.plan_.apply(X, presence)
            self.front_end_ = front_end.fit(signal, groups=groups)

    def _features(self, X: np.ndarray, presence: np.ndarray, network: Any = None) -> np.ndarray:
        """Encode epochs with the frozen encoder, or with a tuned copy of it."""
        handle = self.encoder_
        device, dtype = resolve_device(self.device), resolve_dtype(self.dtype)
        batch_size = self.batch_size if self.batch_size is not None else self._micro_batch(device)
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise SpecError(f"batch_size={self.batch_size!r} must be a positive integer or None.")
        return encode(
            network if network is not None else handle.placed(device, dtype),
            X, presence, self.plan_,
            pooling=handle.pooling, layer=self._layer(handle), front_end=self.front_end_,
            batch_size=int(batch_size), device=device, dtype=dtype, n_threads=self.n_threads,
        )  # fmt: skip

    @staticmethod
    def _micro_batch(device: str) -> int:
        # Small batches stay in the processor's cache; a GPU wants to be filled.
        return 8 if device == "cpu" else 64

    def _check_fitted(self) -> None:
        check_is_fitted(self, "encoder_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
