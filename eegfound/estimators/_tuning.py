"""Training of Classifier and Regressor: checks, validation split, strategies."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight

from eegfound.base import ChannelInfo, SpecError
from eegfound.estimators._adapter import any_electrodes
from eegfound.estimators._base import FoundationEstimator
from eegfound.estimators._conv_linear import ConvLinearTuning
from eegfound.estimators._heads import Head
from eegfound.estimators._lora import LoRATuning
from eegfound.estimators._nets import Net
from eegfound.estimators._options import TrainingOptions, recipe_of, resolve
from eegfound.estimators._strategies import (
    FullTuning,
    HeadTuning,
    PartialTuning,
    ReadoutTuning,
    Strategy,
)
from eegfound.estimators._threads import torch_threads
from eegfound.estimators._training_set import TrainingSet
from eegfound.estimators._validation import validation_split
from eegfound.models import FoundationModel
from eegfound.models.randomness import seeded_torch

#: Values of ``tuning=`` and what each does.
TUNINGS: Mapping[str, type[Strategy]] = {
    "head": HeadTuning,
    "partial": PartialTuning,
    "full": FullTuning,
    "lora": LoRATuning,
    "readout": ReadoutTuning,
    "conv_linear": ConvLinearTuning,
}
#: All values of ``tuning=``; ``"two_stage"`` is a probe followed by another one.
TUNING_NAMES = (*TUNINGS, "two_stage")


class TunableEstimator(FoundationEstimator):
    """Training shared by Classifier and Regressor; not for direct use."""

    _net_class: type[Net]

    def _input_model(self, info: Any, n_channels: int) -> tuple[FoundationModel, Any]:
        """Return the declaration whose input counts; an adapter takes channels of any name."""
        model = self._model()
        if self._tuning() != "conv_linear":
            return model, info
        layout = model.input.vocabulary or ()
        if info is None and n_channels == len(layout) > 1:  # from MontageMapper(target=model)
            info = ChannelInfo(layout, model.input.sfreq)
        return any_electrodes(model), info

    def _effective(self, name: str) -> Any:
        """Return a parameter that a recipe may set: the user's, else the recipe's."""
        value = getattr(self, name)
        if name == "model_params":
            return {**self._recipe().get(name, {}), **(value or {})} or None
        return self._recipe().get(name) if value is None else value

    def _recipe(self) -> Mapping[str, Any]:
        recipe = getattr(self, "recipe", None)
        return {} if recipe is None else recipe_of(self._model(), recipe)

    def _tuning(self) -> str:
        tuning = self._effective("tuning") or "head"
        if tuning not in TUNING_NAMES:
            raise SpecError(f"tuning={tuning!r} is not one of {TUNING_NAMES}.")
        return tuning

    def _options(self, strategy: type[Strategy]) -> TrainingOptions:
        given, recipe = self.get_params(deep=False), self._recipe()
        if strategy is HeadTuning and recipe.get("tuning") not in (None, "head"):
            # Rates of training in steps mean something else to L-BFGS.
            recipe = {k: v for k, v in recipe.items() if k not in ("lr", "weight_decay")}
        return resolve(given, recipe, {"tuning": "head", **strategy.defaults})

    def _check_tuning(self) -> Strategy:
        """Return the strategy, its options checked."""
        tuning = self._tuning()
        if tuning == "two_stage":
            stage = self._effective("second_stage") or "full"
            if stage not in ("partial", "full", "lora"):
                raise SpecError(
                    f"second_stage={stage!r} is not one of ('partial', 'full', 'lora')."
                )
            options = self._options(TUNINGS[stage])
            if options.head_start == "zero":
                options = replace(options, head_start="probe")
            strategy = TUNINGS[stage](self, options)
        else:
            strategy = TUNINGS[tuning](self, self._options(TUNINGS[tuning]))
        strategy.check()
        return strategy

    def _seed(self) -> int:
        state = self.random_state
        if state is None:
            return int(np.random.default_rng().integers(2**31 - 1))
        if isinstance(state, np.random.RandomState):
            return int(state.randint(2**31 - 1))
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**31 - 1))
        return int(state)

    @staticmethod
    def _weights(sample_weight: Any, X: np.ndarray, class_weight: Any = None) -> np.ndarray:
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if class_weight is not None:
            weight = weight * class_weight(weight)
        if not weight.sum() > 0:
            raise SpecError("sample_weight is zero for every epoch: nothing to learn from.")
        return weight

    def _train(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, groups: Any, n_outputs: int
    ) -> None:
        """Fit ``net_`` on windows, targets and weights."""
        strategy = self._check_tuning()
        presence = self._presence(X)
        if groups is not None and len(groups) != len(X):
            raise SpecError(f"groups has {len(groups)} entries for {len(X)} epochs.")
        if not weight.all():  # an epoch without weight is an epoch that is not there
            kept = np.flatnonzero(weight)
            X, presence, y, weight = X[kept], presence[kept], y[kept], weight[kept]
            groups = None if groups is None else np.asarray(groups)[kept]
        seed = self._seed()
        split = None
        if self.early_stopping:
            split = validation_split(
                y if y.ndim == 1 else y[:, 0], groups, fraction=self.validation_fraction,
                seed=seed, stratify=y.dtype == np.int64,
            )  # fmt: skip
        self._load_encoder()
        # What is held out for early stopping shapes nothing that is fitted.
        part = slice(None) if split is None else split[0]
        recordings = None if groups is None else np.asarray(groups)[part]
        self._fit_front_end(X[part], presence[part], recordings, weight[part])
        # No random number of the training reaches the user's own generators,
        # nor another thread's training.
        with seeded_torch(seed):
            self.net_ = strategy.train(TrainingSet(X, presence, y, weight, split, n_outputs))
        self.options_ = strategy.options
        self.reading_ = strategy.reading
        self.n_trained_parameters_ = self.net_.n_trained_
        losses = self.net_.history[:, "train_loss"]
        if not np.isfinite(losses).all():
            raise FloatingPointError(
                f"Training diverged: the loss is {losses[-1]} after {len(losses)} epoch(s). Use a "
                f"smaller lr (now {self.net_.lr:g})."
            )

    def _scores(self, X: Any) -> np.ndarray:
        """Return the head's scores for new windows, in float64."""
        self._check_fitted()
        X = self._read(X, reset=False)
        presence = self._presence(X)
        module = self.net_.module_.eval()
        tuned = None if isinstance(module, Head) else module.network
        if getattr(tuned, "fills_missing", False):
            presence = np.ones_like(presence)
        # Pooled features of all epochs are small; slices are read some epochs at a time.
        blocks: Any = (
            [(slice(None), self._features(X, presence, network=tuned))]
            if self.reading_ == "pooled"
            else self._feature_blocks(X, presence, tuned, self.reading_)
        )
        head, scores = self._double_head(module), []
        for _, features in blocks:
            flat = features.reshape(len(features), -1)
            if flat.shape[1] != self.n_features_out_:
                raise SpecError(
                    f"These windows give {flat.shape[1]} features but those of fit gave "
                    f"{self.n_features_out_}: their length or electrodes differ. "
                    + self._way_to_other_lengths()
                )
            with torch.inference_mode(), torch_threads(1):
                scores.append(head(torch.from_numpy(flat).double()).numpy())
        return np.concatenate(scores)

    def _way_to_other_lengths(self) -> str:
        if self.reading_ == "pooled" and self._tuning() != "conv_linear":
            return "Use pooling='mean'."
        return (
            f"head={self.options_.head!r} reads so many tokens or moments as there were in fit: "
            f"pass windows of {self.n_times_in_} samples, or use head='linear' or 'mlp' with "
            "pooling='mean'."
        )

    def _double_head(self, module: Any) -> Any:
        """Return the head in float64, made anew when its tensors have changed."""
        head = module if isinstance(module, Head) else module.head
        state = [(t.data_ptr(), t._version) for t in (*head.parameters(), *head.buffers())]
        made = self.net_.double_head_
        if made is None or made[0] != state:
            made = self.net_.double_head_ = (state, copy.deepcopy(head).double().cpu())
        return made[1]
