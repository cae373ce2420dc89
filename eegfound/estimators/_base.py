"""What Transformer, Classifier and Regressor have in common."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from eegfound.base import SpecError, unit_factor
from eegfound.estimators._encode import BLOCK, empty_features, encode
from eegfound.estimators._handle import EncoderHandle, resolve_device
from eegfound.estimators._pooling import POOLINGS
from eegfound.estimators._precision import Precision
from eegfound.estimators._reading import WindowEstimator
from eegfound.estimators._threads import n_workers


class FoundationEstimator(WindowEstimator):
    """Common ground of the estimators; not for direct use.

    Subclasses list these constructor parameters among their own: ``model,
    size, checkpoint, pretrained, info, unit, pooling, layer, on_unknown,
    on_short, batch_size, device, dtype, n_threads, model_params, random_state``.
    """

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

    def _layer(self, handle: EncoderHandle) -> int | None:
        if self.layer is None or self.layer >= 0:
            return self.layer
        return handle.network.n_layers + 1 + self.layer

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
