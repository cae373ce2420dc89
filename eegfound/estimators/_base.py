"""What Transformer, Classifier and Regressor have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

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
from eegfound.estimators._encode import BLOCK, empty_features, encode
from eegfound.estimators._handle import EncoderHandle, resolve_device
from eegfound.estimators._inputs import InputPlan, plan_input
from eegfound.estimators._pooling import POOLINGS
from eegfound.estimators._precision import Precision
from eegfound.estimators._threads import n_workers
from eegfound.models import FoundationModel, get_model, list_models, load_object


class FoundationEstimator(BaseEstimator):
    """Common ground of the estimators; not for direct use.

    Subclasses list these constructor parameters among their own: ``model,
    size, checkpoint, pretrained, info, unit, pooling, layer, on_unknown,
    on_short, batch_size, device, dtype, n_threads, model_params, random_state``.
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

    def _load_encoder(self) -> EncoderHandle:
        model = self._model()
        pooling = self._effective("pooling") or model.poolings[0]
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
            config=self._params_for(front_end=False), seed=0 if seed is None else int(seed),
        )  # fmt: skip
        n_layers = handle.network.n_layers
        layer = self.layer
        if layer is not None and layer not in range(-n_layers, n_layers + 1):
            raise SpecError(f"layer={layer!r} is no whole number from {-n_layers} to {n_layers}.")
        self.encoder_ = handle
        self.fingerprint_ = handle.fingerprint
        self.weights_ = handle.weights
        self.load_report_ = handle.report
        return handle

    def _effective(self, name: str) -> Any:
        """Return a parameter that a recipe may set, as it counts."""
        return getattr(self, name)

    def _layer(self, handle: EncoderHandle) -> int | None:
        if self.layer is None or self.layer >= 0:
            return self.layer
        return handle.network.n_layers + 1 + self.layer

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
            front_end = load_object(path)(self.plan_, **self._params_for(front_end=True))
            signal = self.plan_.apply(X, presence)
            self.front_end_ = front_end.fit(signal, groups=groups, sample_weight=sample_weight)

    def _presence(self, X: np.ndarray) -> np.ndarray:
        """Check an array, and return which channels were recorded in each epoch."""
        cache = getattr(self, "cache", None)
        if cache is None or cache is False:
            return self.plan_.check(X)
        from eegfound.cache.memory import check_once

        return check_once(self.plan_, X)

    def _features(
        self, X: np.ndarray, presence: np.ndarray, network: Any = None, reading: str = "pooled"
    ) -> np.ndarray:
        """Encode epochs with the frozen encoder, or with a tuned copy of it.

        ``reading`` other than ``"pooled"`` gives ``(n_epochs, n_slices, width)``.
        """
        handle, device = self.encoder_, resolve_device(self.device)
        precision = handle.precision(self.dtype, device, lambda p: self._probe(device, p))
        compiled = bool(getattr(self, "compile", False))
        batch_size = self.batch_size
        if batch_size is None and not device.startswith("cuda"):
            batch_size = self._model().micro_batch if device == "cpu" else 64
        if batch_size is not None:
            if not isinstance(batch_size, Integral) or batch_size < 1:
                raise SpecError(f"batch_size={batch_size!r} must be a positive integer or None.")
            batch_size = int(batch_size)
        layer = self._layer(handle)
        cache = getattr(self, "cache", None)
        cached = network is None and cache is not None and cache is not False

        def run(X: np.ndarray, presence: np.ndarray, done: Any = None) -> np.ndarray:
            if network is not None:
                placed = handle.placed_tuned(network, device, precision)
            else:
                placed = (handle.compiled if compiled else handle.placed)(device, precision)
            return encode(
                placed, X, presence, self.plan_,
                pooling=handle.pooling, layer=layer, front_end=self.front_end_,
                batch_size=batch_size, device=device, dtype=precision.arithmetic,
                n_threads=self.n_threads,
                reading=reading, fill_up=cached, done=done,
            )  # fmt: skip

        if not cached:
            return run(X, presence)
        from eegfound.cache.encoder import through_cache

        return through_cache(
            cache, run, X, presence,
            step=(batch_size or 64) * (n_workers(self.n_threads) if device == "cpu" else 1),
            allocate=lambda shape: empty_features(len(X), shape),
            model=self._model(), handle=handle, network=handle.network, plan=self.plan_,
            layer=layer, front_end=self.front_end_,
            arithmetic={
                "precision": precision.name, "device": device, "batch_size": batch_size,
                "compile": compiled, "reading": reading,
            },
        )  # fmt: skip

    def _probe(self, device: str, precision: Precision) -> torch.Tensor:
        """Return embeddings of a little noise in a precision, always the same noise."""
        plan, handle = self.plan_, self.encoder_
        n_times = round(plan.info.sfreq * max(2.0, plan.spec.shortest / plan.spec.sfreq))
        noise = np.random.default_rng(0).standard_normal((2, plan.info.n_channels, n_times))
        features = encode(
            handle.placed(device, precision), 1e-5 * noise / unit_factor(plan.unit),
            np.ones((2, len(plan.picks)), dtype=bool), plan,
            pooling=handle.pooling, layer=self._layer(handle), front_end=self.front_end_,
            batch_size=2, device=device, dtype=precision.arithmetic, n_threads=1,
        )  # fmt: skip
        return torch.from_numpy(features)

    def _feature_blocks(
        self, X: np.ndarray, presence: np.ndarray, network: Any = None, reading: str = "pooled"
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the features of some epochs at a time: slices of an epoch can be large."""
        for first in range(0, len(X), BLOCK):
            part = slice(first, min(first + BLOCK, len(X)))
            yield part, self._features(X[part], presence[part], network, reading)

    def export(self, path: Any, *, format: str = "onnx", n_times: int | None = None) -> Path:
        """Write what was fitted as a program that runs without this package.

        The program takes float32 windows as this estimator does, ``(n_epochs,
        n_channels, n_times)`` in the same unit, channels, order and rate, any
        number of them, all channels recorded. It returns embeddings, class
        probabilities or predictions. The file is read back and compared with
        the estimator; it tells channels, rate, unit and fingerprint.

        Parameters
        ----------
        path : path-like
            File to write.
        format : {"onnx", "torch"}
            ONNX (``pip install "eegfound[onnx]"``), or an archive that
            ``torch.export.load`` reads.
        n_times : int | None
            Samples of a window; None takes those of ``fit``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        SpecError
            If a part cannot be expressed, or the file gives other numbers.
        """
        from eegfound.estimators._export import export_estimator

        return export_estimator(self, path, format=format, n_times=n_times)

    def _check_fitted(self) -> None:
        check_is_fitted(self, "encoder_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _poor_score(self) -> bool:
        try:
            return self._model().poor_score
        except (ModelNotFoundError, SpecError):  # fit will say so; tags must not
            return False
