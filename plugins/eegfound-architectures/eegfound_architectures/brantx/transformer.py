"""The Brant-X-style estimator: align on simultaneous recordings, then embed both."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from eegfound.base import (
    ChannelInfo,
    SpecError,
    as_3d,
    as_channel_info,
    epochs_to_array,
    is_epochs,
    presence_mask,
    refuse_continuous,
)
from eegfound.estimators import make_transformer
from eegfound.models import FoundationModel, get_model, list_models
from eegfound.models.randomness import seeded_torch
from eegfound.preprocessing import resample
from eegfound_architectures.brantx.align import KINDS, BrantXAlign
from eegfound_architectures.brantx.recordings import paired_batches, split_channels

OUTPUTS = ("concat", "eeg", "exg")


class BrantXTransformer(TransformerMixin, BaseEstimator):
    """Embed EEG together with EOG, ECG or EMG, aligned by contrast (our design).

    ``fit`` needs no labels: it trains an encoder of the other signal so that
    its view of a moment, and of a whole window, agrees with that of an EEG
    encoder of the suite. ``transform`` gives both embeddings side by side.
    This is an architecture of our own in the style of Brant-X, without weights.

    Parameters
    ----------
    eeg_encoder : str | None
        Name of an installed model (:func:`eegfound.list_models`).
    exg : {"eog", "ecg", "emg"}
        Type of the channels that are aligned with the EEG.
    eeg_params : dict | None
        Parameters of the EEG encoder's Transformer (``size``, ``checkpoint``,
        ``pooling``, ``on_unknown``, …).
    info : ChannelInfo | mne.Info | None
        Names, rate and ``ch_types`` of the arrays. Not needed for
        ``mne.Epochs``. Without it, the only channel of an array stands for
        both signals, with a warning.
    unit : str
        Unit of the arrays. EXG channels are standardized, whatever their unit.
    output : {"concat", "eeg", "exg"}
        Which embeddings come out.
    freeze_eeg : bool
        Keep the EEG encoder as it is. False trains a copy of it as well; its
        embedding is then the mean over tokens, whatever the pooling.
    patch_seconds, resampling, projection, temperature, exg_width, exg_depth, exg_heads
        See :class:`BrantXAlign`.
    max_epochs : int
        Passes over the data.
    train_batch_size : int
        Windows per step; their number is the number of candidates that a
        window is told apart from.
    lr, weight_decay : float
        Of AdamW.
    random_state : int | RandomState | None
        Seed of weights, order and resampling. None is 0.

    Attributes
    ----------
    eeg_ : FoundationTransformer
        The fitted EEG encoder.
    exg_encoder_ : ExgEncoder
        The trained encoder of the other signal.
    eeg_network_ : EncoderNetwork | None
        The trained copy of the EEG encoder, with ``freeze_eeg=False``.
    history_ : list of dict
        Mean losses of each pass: ``total``, ``patch``, ``sequence``.
    eeg_picks_, exg_picks_ : list of int
        Channels of the array that are EEG, and that are of type ``exg``.
    n_features_out_ : int
        Length of an embedding.

    Notes
    -----
    To align on one data set and classify on another, freeze the fitted
    estimator: ``make_pipeline(FrozenEstimator(aligned), StandardScaler(), …)``
    with :class:`sklearn.frozen.FrozenEstimator`. Inside a cross-validated
    pipeline the alignment is fitted on training folds only.

    Examples
    --------
    >>> from eegfound import ChannelInfo
    >>> from eegfound_architectures import BrantXTransformer
    >>> info = ChannelInfo(["Cz", "Pz", "EOG1"], 200, ch_types=["eeg", "eeg", "eog"])
    >>> BrantXTransformer("labram", exg="eog", info=info).freeze_eeg
    True
    """

    info_: ChannelInfo | None
    eeg_picks_: list[int]
    exg_picks_: list[int]

    def __init__(
        self, eeg_encoder: str | None = None, *, exg: str = "eog",
        eeg_params: dict[str, Any] | None = None, info: Any = None, unit: str = "V",
        output: str = "concat", freeze_eeg: bool = True, patch_seconds: float | None = None,
        resampling: Any = (0.5, 1.0), projection: int = 128, temperature: float = 0.07,
        exg_width: int = 256, exg_depth: int = 4, exg_heads: int = 8, max_epochs: int = 10,
        train_batch_size: int = 32, lr: float = 5e-4, weight_decay: float = 0.05,
        random_state: Any = 0,
    ) -> None:  # fmt: skip
        self.eeg_encoder = eeg_encoder
        self.exg = exg
        self.eeg_params = eeg_params
        self.info = info
        self.unit = unit
        self.output = output
        self.freeze_eeg = freeze_eeg
        self.patch_seconds = patch_seconds
        self.resampling = resampling
        self.projection = projection
        self.temperature = temperature
        self.exg_width = exg_width
        self.exg_depth = exg_depth
        self.exg_heads = exg_heads
        self.max_epochs = max_epochs
        self.train_batch_size = train_batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> BrantXTransformer:
        """Align both encoders on windows that hold both signals.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            EEG and EXG channels of the same windows, in ``unit``.
        y : None
            Ignored.

        Returns
        -------
        BrantXTransformer
            The estimator itself.
        """
        model = self._model()
        X = self._read(X, reset=True)
        seed = self._seed()
        params = {"random_state": seed} | dict(self.eeg_params or {})
        self.eeg_ = make_transformer(
            model.name, info=self._eeg_info(), unit=self.unit, **params
        ).fit(X[:, self.eeg_picks_])
        with seeded_torch(seed):
            align = BrantXAlign(
                self.eeg_.encoder_.network, exg=self.exg, input=model.input,
                freeze_eeg=self.freeze_eeg, patch_seconds=self.patch_seconds,
                resampling=self.resampling if model.front_end is None else None,
                exg_width=self.exg_width, exg_depth=self.exg_depth, exg_heads=self.exg_heads,
                projection=self.projection, temperature=self.temperature,
            )  # fmt: skip
            self.exg_sfreq_, self.exg_patch_ = align.exg_sfreq, align.exg_encoder.patch
            exg = self._exg_signal(X)
            self.exg_center_ = np.median(exg, axis=(0, 2), keepdims=True)[0]
            spread = np.abs(exg - self.exg_center_).mean(axis=(0, 2), keepdims=True)[0]
            self.exg_scale_ = np.where(spread > 0, spread, 1.0)
            self._train(align, X, self._standardized(exg), torch.Generator().manual_seed(seed))
        align.eval().requires_grad_(False)
        self.exg_encoder_ = align.exg_encoder
        self.eeg_network_ = None if self.freeze_eeg else align.eeg_network
        self.n_features_out_ = self._embed(X[:1]).shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed windows.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Channels as in ``fit``.

        Returns
        -------
        ndarray of float32, shape (n_epochs, n_features)
            The EEG encoder's embedding, then the EXG encoder's.
        """
        check_is_fitted(self, "exg_encoder_")
        return self._embed(self._read(X, reset=False))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the columns: the EEG encoder's, then ``exg-eog.000`` and so on.

        Parameters
        ----------
        input_features : None
            Ignored.
        """
        check_is_fitted(self, "exg_encoder_")
        exg = [f"exg-{self.exg}.{i:03d}" for i in range(self.exg_encoder_.width)]
        if self.output == "exg":
            return np.asarray(exg, dtype=object)
        eeg = list(self.eeg_.get_feature_names_out())
        if self.eeg_network_ is not None:
            eeg = [f"{self.eeg_encoder}.aligned.{i:03d}" for i in range(self.eeg_network_.width)]
        return np.asarray(eeg if self.output == "eeg" else eeg + exg, dtype=object)

    def _model(self) -> FoundationModel:
        if self.eeg_encoder is None:
            raise SpecError(f"eeg_encoder=None: name one of the installed models, {list_models()}.")
        for name, allowed in (("exg", KINDS), ("output", OUTPUTS)):
            if getattr(self, name) not in allowed:
                raise SpecError(f"{name}={getattr(self, name)!r} is not one of {allowed}.")
        for name in ("max_epochs", "train_batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise SpecError(f"{name}={value!r} must be a positive integer.")
        return get_model(self.eeg_encoder)

    def _seed(self) -> int:
        state = self.random_state
        if isinstance(state, np.random.RandomState):
            return int(state.randint(2**31 - 1))
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**31 - 1))
        return 0 if state is None else int(state)

    def _read(self, X: Any, *, reset: bool) -> np.ndarray:
        info = None if self.info is None else as_channel_info(self.info)
        refuse_continuous(X)
        if is_epochs(X):
            if self.unit != "V":
                raise SpecError(f"Epochs are in volts: leave unit={self.unit!r} out.")
            X, found = epochs_to_array(X)
            wanted = info if reset else self.info_
            if wanted is not None and (
                found.ch_names != wanted.ch_names or found.sfreq != wanted.sfreq
            ):
                raise SpecError(
                    f"The Epochs have the channels {list(found.ch_names)[:6]}… at "
                    f"{found.sfreq:g} Hz, not those of {'info' if reset else 'fit'}: use "
                    "epochs.reorder_channels and epochs.resample."
                )
            info = found
        X = validate_data(
            self, X, reset=reset, allow_nd=True, dtype=[np.float32, np.float64],
            ensure_all_finite=False,
        )  # fmt: skip
        X = as_3d(X, info=info)
        if reset:
            self.info_ = info
            self.eeg_picks_, self.exg_picks_ = split_channels(info, X.shape[1], self.exg)
        presence = presence_mask(X)
        if not presence[:, self.exg_picks_].all():
            raise SpecError(
                f"{self.exg.upper()} is NaN (not recorded) in some windows: drop them, alignment "
                "and embedding need both signals."
            )
        return X

    def _eeg_info(self) -> ChannelInfo | None:
        info = self.info_
        if info is None:
            return None
        names = [info.ch_names[i] for i in self.eeg_picks_]
        return ChannelInfo(names, info.sfreq, positions=info.positions)

    def _exg_signal(self, X: np.ndarray) -> np.ndarray:
        """Return EXG channels at their encoder's rate, in whole patches."""
        exg = np.asarray(X[:, self.exg_picks_], dtype=np.float64)
        sfreq = self.eeg_.plan_.info.sfreq
        if sfreq != self.exg_sfreq_:
            exg = resample(exg, sfreq, self.exg_sfreq_)
        whole = exg.shape[-1] // self.exg_patch_ * self.exg_patch_
        if whole:
            return exg[..., :whole]
        return np.pad(exg, ((0, 0), (0, 0), (0, self.exg_patch_ - exg.shape[-1])))

    def _standardized(self, exg: np.ndarray) -> torch.Tensor:
        scaled = (exg - self.exg_center_) / self.exg_scale_
        return torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))

    def _train(
        self, align: BrantXAlign, X: np.ndarray, exg: torch.Tensor, generator: torch.Generator
    ) -> None:
        self._check_length(X)
        trained = [p for p in align.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay)
        align.train()
        self.history_ = []
        for epoch in range(self.max_epochs):
            align.start_epoch(epoch, self.max_epochs)
            sums = dict.fromkeys(("total", "patch", "sequence"), 0.0)
            for index, batch in paired_batches(
                self.eeg_, X[:, self.eeg_picks_], exg, self.train_batch_size, generator
            ):
                losses = align(batch, generator=generator)
                optimizer.zero_grad()
                losses.total.backward()
                optimizer.step()
                for name in sums:
                    sums[name] += float(getattr(losses, name).detach()) * len(index) / len(X)
            if not np.isfinite(sums["total"]):
                raise FloatingPointError(f"Alignment diverged: use a smaller lr (now {self.lr:g}).")
            self.history_.append(sums)

    def _check_length(self, X: np.ndarray) -> None:
        spec, plan = self.eeg_.plan_.spec, self.eeg_.plan_
        if self.eeg_.front_end_ is not None or spec.long_windows != "chunk":
            return  # these take a window as a whole, however long
        length = plan.n_model_times(X.shape[-1])
        if spec.max_samples is not None and length > spec.max_samples:
            raise SpecError(
                f"Windows of {length / spec.sfreq:g} s are too long to align: {self.eeg_encoder} "
                f"takes {spec.max_samples / spec.sfreq:g} s at a time. Cut shorter windows."
            )

    def _embed(self, X: np.ndarray) -> np.ndarray:
        parts = []
        if self.output != "exg":
            parts.append(self._eeg_features(X))
        if self.output != "eeg":
            exg = self._standardized(self._exg_signal(X))
            with torch.inference_mode():
                # One by one: an embedding depends on its own window only.
                means = [self.exg_encoder_(x[None]).mean(dim=1) for x in exg]
            parts.append(torch.cat(means).numpy())
        return np.concatenate(parts, axis=1)

    def _eeg_features(self, X: np.ndarray) -> np.ndarray:
        if self.eeg_network_ is None:
            return self.eeg_.transform(X[:, self.eeg_picks_])
        out = np.empty((len(X), self.eeg_network_.width), dtype=np.float32)
        with torch.inference_mode():
            for index, batch in paired_batches(self.eeg_, X[:, self.eeg_picks_], None, 1):
                tokens = self.eeg_network_(batch)
                plain = ~tokens.is_summary
                values = tokens.values[:, plain] if plain.any() else tokens.values
                out[index] = values.mean(dim=1).numpy()
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
