"""The frozen encoder: windows of EEG in, embeddings out."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import TransformerMixin

from eegfound.estimators._base import FoundationEstimator
from eegfound.estimators._pooling import POOLINGS
from eegfound.models import get_model


class FoundationTransformer(TransformerMixin, FoundationEstimator):
    """Embed windows of EEG with a frozen, pretrained encoder.

    The embedding of a window depends on that window alone: on the CPU it is the
    same to the bit in every cross-validation fold, thread and process.

    Parameters
    ----------
    model : str | None
        Name of an installed model (:func:`eegfound.list_models`).
    size : str | None
        Named size of the network. None takes the checkpoint's.
    checkpoint : str | path-like | None
        ``"default"`` (the first checkpoint of the plugin), the name of a known
        checkpoint, the path of a weight file, or None for random weights.
    pretrained : bool
        False is the same as ``checkpoint=None``: random weights, announced by
        a :class:`~eegfound.base.RandomWeightsWarning`.
    info : ChannelInfo | mne.Info | None
        Channel names and sampling rate of the arrays. Not needed for
        ``mne.Epochs``, for the output of ``MontageMapper(target=model)`` (the
        model's vocabulary at the model's rate), or for a single channel.
    unit : str
        Unit of the arrays: ``"V"`` (as in MNE), ``"mV"``, ``"uV"``, ``"nV"``.
        Epochs are always in volts.
    pooling : str | None
        Read-out: ``"mean"``, ``"cls"``, ``"max"``, ``"mean_std"``,
        ``"channels"`` (one vector per electrode), ``"flatten"``, or one of the
        model's own. None takes the model's default.
    layer : int | None
        Layer to read: 0 (input embedding) to the number of layers, negative
        from the end. None reads the output with the model's final norm.
    on_unknown : {"raise", "drop"}
        What to do with channels the model does not know.
    on_short : {"raise", "pad"}
        What to do with windows shorter than the model's shortest: refuse them
        or fill their end with zeros.
    batch_size : int | None
        Epochs per forward pass. None: what the model declares to be
        independent of neighbours to the bit on the CPU, 64 on a GPU.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, …
    dtype : {"float32", "bfloat16", "float16", "auto"}
        Precision of the network; embeddings are float32 in any case. Where a
        processor would have to emulate the arithmetic, weights are rounded to
        it and computed with in float32. ``"auto"`` is bfloat16 on a device that
        has it in hardware, if the embeddings of some noise then have a cosine
        of at least 0.999 with those in float32; else it is float32.
    compile : bool
        Run the network through ``torch.compile``: each shape is compiled once
        per process (a minute or so) and compared with the network itself.
        Embeddings agree up to rounding, no longer to the bit.
    cache : None | True | str | path-like
        Keep embeddings on disk, so that each epoch is encoded once, however
        many folds, candidates and processes ask for it: True for the default
        place (``eegfound cache info`` names it), or a folder. Numbers are the
        same with and without. None keeps nothing.
    n_threads : int | None
        Threads used on the CPU. None takes the share of this process.
    model_params : dict | None
        Options of the model's own network (see its model card).
    random_state : int | RandomState | None
        Seed of random weights. None is 0.

    Attributes
    ----------
    n_features_out_ : int
        Length of an embedding.
    ch_names_ : list of str
        Electrodes used, in the model's words.
    plan_ : InputPlan
        How arrays become the network's input (what was dropped or renamed).
    weights_ : str
        Name or path of the checkpoint, or ``"random"``.
    fingerprint_ : str
        Digest of the network's tensors.
    load_report_ : LoadReport | None
        How the checkpoint fitted, tensor by tensor.

    Raises
    ------
    SpecError
        If channels, rate, unit or length do not fit the model.
    CheckpointError
        If the weights cannot be had or do not fit.

    Notes
    -----
    A channel that is NaN throughout an epoch was not recorded there; epochs of
    different caps may stand in one array. Windows longer than a model takes
    are cut into pieces of equal length whose tokens are pooled together.
    2-D input ``(n_epochs, n_times)`` means windows of one channel.
    Pickles refer to published weights by fingerprint instead of storing them.

    Examples
    --------
    >>> import numpy as np
    >>> import eegfound as ef
    >>> from eegfound.testing.toy import toy_model
    >>> info = ef.ChannelInfo(["C3", "Cz", "C4"], sfreq=250)
    >>> X = 1e-5 * np.random.default_rng(0).standard_normal((4, 3, 1000))
    >>> with ef.models.registry.registered(toy_model("example")):
    ...     encoder = ef.make_transformer("example", info=info, checkpoint=None)
    ...     encoder.fit_transform(X).shape
    (4, 16)
    """

    #: An embedding depends on its own epoch only (see ``eegfound.benchmark``).
    is_frozen_encoder = True

    def __init__(
        self,
        model: str | None = None,
        *,
        size: str | None = None,
        checkpoint: Any = "default",
        pretrained: bool = True,
        info: Any = None,
        unit: str = "V",
        pooling: str | None = None,
        layer: int | None = None,
        on_unknown: str = "raise",
        on_short: str = "raise",
        batch_size: int | None = None,
        device: str = "auto",
        dtype: str = "float32",
        compile: bool = False,
        cache: Any = None,
        n_threads: int | None = None,
        model_params: dict[str, Any] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.model = model
        self.size = size
        self.checkpoint = checkpoint
        self.pretrained = pretrained
        self.info = info
        self.unit = unit
        self.pooling = pooling
        self.layer = layer
        self.on_unknown = on_unknown
        self.on_short = on_short
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.compile = compile
        self.cache = cache
        self.n_threads = n_threads
        self.model_params = model_params
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> FoundationTransformer:
        """Check the data against the model and load its weights.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows of EEG in ``unit``.
        y : None
            Ignored.
        groups : array-like, shape (n_epochs,) | None
            Recording of each epoch, for models whose front end is fitted per
            recording.

        Returns
        -------
        FoundationTransformer
            The estimator itself.
        """
        X, presence = self._prepare(X, groups)
        some = self._first_epochs(presence)
        self.n_features_out_ = self._features(X[some], presence[some]).shape[1]
        return self

    def fit_transform(self, X: Any, y: Any = None, groups: Any = None) -> np.ndarray:
        """Do ``fit`` and ``transform`` on the same windows, which are read only once.

        Parameters
        ----------
        X, y, groups
            See :meth:`fit`.

        Returns
        -------
        ndarray of float32, shape (n_epochs, n_features)
            Embeddings.
        """
        X, presence = self._prepare(X, groups)
        features = self._features(X, presence)
        self.n_features_out_ = features.shape[1]
        return features

    def _prepare(self, X: Any, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """Do all of ``fit`` but the counting of features."""
        X = self._read(X, reset=True)
        presence = self._presence(X)
        self._load_encoder()
        self._fit_front_end(X, presence, groups)
        return X, presence

    def _first_epochs(self, presence: np.ndarray) -> np.ndarray:
        """Return the epochs that tell the number of features.

        One is enough. With a cache they are kept, so it takes as many as share
        a forward pass on the CPU: encoding one takes as long.
        """
        if self.cache is None or self.cache is False:
            return np.arange(1)
        alike = np.flatnonzero((presence == presence[0]).all(axis=1))
        wanted = self.batch_size
        whole = isinstance(wanted, int) and wanted > 0  # if it is not, encoding will say so
        return alike[: wanted if whole else self._model().micro_batch]

    def transform(self, X: Any) -> np.ndarray:
        """Embed windows.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.Epochs
            Windows of EEG, channels as in ``fit``.

        Returns
        -------
        ndarray of float32, shape (n_epochs, n_features)
            Embeddings.
        """
        self._check_fitted()
        X = self._read(X, reset=False)
        features = self._features(X, self._presence(X))
        if features.shape[1] != self.n_features_out_:
            from eegfound.base import SpecError

            raise SpecError(
                f"pooling={self.encoder_.pooling!r} gives {features.shape[1]} features for these "
                f"windows but gave {self.n_features_out_} in fit: their length or electrodes "
                "differ. Use pooling='mean'."
            )
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names that tell model, layer, read-out and unit of each column.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            For instance ``labram-base.out.mean.000``.
        """
        self._check_fitted()
        handle = self.encoder_
        layer = "out" if self.layer is None else f"layer{self._layer(handle):02d}"
        stem = f"{get_model(handle.model).name}-{handle.size}.{layer}.{handle.pooling}"
        count = self.n_features_out_
        if handle.pooling == "channels" and handle.pooling in POOLINGS:
            width = count // len(self.ch_names_)
            names = [f"{stem}.{ch}.{i:03d}" for ch in self.ch_names_ for i in range(width)]
        else:
            names = [f"{stem}.{i:03d}" for i in range(count)]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
