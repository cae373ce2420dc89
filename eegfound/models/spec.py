"""What a plugin declares about its model: plain data, nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from eegfound.base import PluginError, SpecError, unit_factor
from eegfound.models.stages import PretrainingStage

#: Version of the contract below. A plugin written for another one is skipped.
API_VERSION = 1

#: Parameters of Classifier and Regressor that a recipe may set.
RECIPE_KEYS = frozenset(
    {
        "tuning", "pooling", "model_params",
        "head", "head_hidden", "head_dropout", "head_start",
        "n_unfrozen", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "second_stage",
        "adapter_channels", "adapter_options",
        "label_smoothing", "mixup", "channel_dropout",
        "max_epochs", "train_batch_size", "activation_memory_mb",
        "optimizer", "lr", "min_lr", "lr_schedule", "warmup", "weight_decay", "layer_decay",
        "gradient_clip", "ema_decay",
    }
)  # fmt: skip


def load_object(path: str) -> Any:
    """Import ``"package.module:name"``.

    Parameters
    ----------
    path : str
        Import path with a colon between module and attribute.

    Returns
    -------
    object
        The attribute.

    Raises
    ------
    PluginError
        If the path is malformed, or the module or attribute is missing.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise PluginError(f"{path!r} is not an import path of the form 'package.module:name'.")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"Cannot import {path!r}: {error}") from error


@dataclass(frozen=True)
class InputSpec:
    """What a network needs of its input.

    Parameters
    ----------
    sfreq : float
        Sampling rate in Hz.
    patch_samples : int
        Length of one patch (token in time) in samples at ``sfreq``.
    patch_stride : int | None
        Hop between patches in samples; None means ``patch_samples``.
    min_samples, max_samples : int | None
        Shortest and longest window of one forward pass. ``min_samples``
        defaults to one patch; None for ``max_samples`` means no limit.
    unit : str
        Physical unit of the network's input before ``scale``.
    scale : float
        Multiplied to values in ``unit`` (LaBraM takes microvolt times 0.01).
    vocabulary : tuple of str | None
        Electrode names the network knows, in the order of its embedding
        table. None means that any electrode can be given.
    accepts_missing : bool
        True when the network takes any subset of its vocabulary; False when
        all electrodes of ``vocabulary`` must be there.
    needs_positions : bool
        True when the network reads electrode positions.
    ordered_channels : bool
        True when the network's output depends on the order of channels.
    reference : {"any", "average"}
        ``"average"`` subtracts the mean over recorded channels first.
    resampling : {"polyphase", "fft", "nearest"}
        How windows are brought to ``sfreq``.
    band : tuple of float | None
        Pass band in Hz of the data the network was trained on.
    notch : float | None
        Line frequency in Hz removed from the training data.
    window_seconds : tuple of float | None
        Range of window lengths seen in pretraining, in seconds.
    long_windows : {"chunk", "stream"}
        ``"chunk"``: windows beyond ``max_samples`` are cut into pieces of
        (almost) equal length whose tokens are pooled together.
    default_channel : str | None
        Electrode that an unnamed single channel is taken for.
    """

    sfreq: float
    patch_samples: int
    patch_stride: int | None = None
    min_samples: int | None = None
    max_samples: int | None = None
    unit: str = "uV"
    scale: float = 1.0
    vocabulary: tuple[str, ...] | None = None
    accepts_missing: bool = True
    needs_positions: bool = False
    ordered_channels: bool = False
    reference: Literal["any", "average"] = "any"
    resampling: Literal["polyphase", "fft", "nearest"] = "polyphase"
    band: tuple[float, float] | None = None
    notch: float | None = None
    window_seconds: tuple[float, float] | None = None
    long_windows: Literal["chunk", "stream"] = "chunk"
    default_channel: str | None = None

    def __post_init__(self) -> None:
        if self.sfreq <= 0 or self.patch_samples <= 0:
            raise SpecError("InputSpec needs a positive sfreq and patch_samples.")
        if self.vocabulary is not None:
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
            upper = [name.upper() for name in self.vocabulary]
            if len(set(upper)) != len(upper):
                raise SpecError("InputSpec.vocabulary names an electrode twice.")
        unit_factor(self.unit)

    @property
    def stride(self) -> int:
        """Hop between patches in samples."""
        return self.patch_stride or self.patch_samples

    @property
    def shortest(self) -> int:
        """Shortest window in samples."""
        return self.min_samples or self.patch_samples

    @property
    def volts_to_model(self) -> float:
        """Factor from volts to the network's own numbers."""
        return unit_factor("V", self.unit) * self.scale

    def n_patches(self, n_times: int) -> int:
        """Return the number of whole patches in ``n_times`` samples."""
        return max(0, (n_times - self.patch_samples) // self.stride + 1)


@dataclass(frozen=True)
class Checkpoint:
    """A set of weights: where it is, what it is, how it is read.

    Parameters
    ----------
    name : str
        Name by which users ask for it (``checkpoint="..."``).
    size : str
        Named size of the network it belongs to.
    filename : str
        Name of the published file.
    urls : tuple of str
        Addresses to try in order. Empty when the file cannot be downloaded.
    packaged : str | None
        ``"package:relative/path"`` of a file that ships with the plugin.
    sha256 : str | None
        Digest of the file; None where the publisher gives none.
    licence : str
        Terms under which the weights are published.
    converter : str | None
        Import path of ``convert(raw, network) -> (state_dict, dropped_keys)``
        that maps the published layout to the network's. None: keys match.
    optional_keys : tuple of str
        ``fnmatch`` patterns of network tensors that the file may lack.
    safe_globals : tuple of str
        Classes (``"argparse:Namespace"``) allowed while reading a pickle with
        ``weights_only=True``.
    how_to_get : str
        Sentence that tells a user where the file comes from.
    pretraining_datasets : tuple of str
        Sets seen in pretraining (the contamination record).
    """

    name: str
    size: str
    filename: str = ""
    urls: tuple[str, ...] = ()
    packaged: str | None = None
    sha256: str | None = None
    licence: str = "unknown"
    converter: str | None = None
    optional_keys: tuple[str, ...] = ()
    safe_globals: tuple[str, ...] = ()
    how_to_get: str = ""
    pretraining_datasets: tuple[str, ...] = ()

    @classmethod
    def shipped(
        cls, package: str, model: str, size: str, *, licence: str,
        pretraining_datasets: tuple[str, ...],
    ) -> Checkpoint:  # fmt: skip
        """Declare weights that ship with a plugin, in its folder ``weights``.

        Parameters
        ----------
        package : str
            The plugin's package.
        model, size : str
            Whose weights; file and checkpoint are named after both. The model card
            stands beside the file.
        licence, pretraining_datasets
            See the class.

        Returns
        -------
        Checkpoint
            ``"<model>-<size>-open"``.

        Examples
        --------
        >>> from eegfound.models import Checkpoint
        >>> Checkpoint.shipped(
        ...     "my_plugin", "mine", "small", licence="CC0", pretraining_datasets=("EEGMMIDB",)
        ... ).packaged
        'my_plugin:weights/mine-small-open.safetensors'
        """
        name = f"{model}-{size}-open"
        return cls(
            name=name,
            size=size,
            filename=f"{name}.safetensors",
            packaged=f"{package}:weights/{name}.safetensors",
            licence=licence,
            how_to_get=f"It ships with {package}: install that again.",
            pretraining_datasets=pretraining_datasets,
        )


@dataclass(frozen=True)
class FoundationModel:
    """Everything the suite must know about a model, without importing it.

    Import paths are strings (``"package.module:name"``), so that listing
    models never loads a network.

    Parameters
    ----------
    name : str
        Lower-case name used by ``make_transformer(name)`` and the CLI.
    summary : str
        One line for listings.
    input : InputSpec
        Input contract.
    network : str
        Path of ``build(*, pooling, **config) -> torch.nn.Module``; the module
        follows :class:`eegfound.models.network.EncoderNetwork`.
    sizes : mapping of str to mapping
        Named sizes and the ``config`` of each.
    default_size : str
        Size used where the user names neither size nor checkpoint.
    aliases : tuple of str
        Further names.
    checkpoints : tuple of Checkpoint
        Known weights; the first is the default.
    poolings : tuple of str
        Read-outs the model supports, the first is the default.
    objective : str | None
        Path of the factory of the self-supervised objective.
    stages : tuple of PretrainingStage
        Its stages, where the paper has several, or where it says how to train.
        Empty: one stage, ``"pretraining"``, of ``objective`` (whose factory is
        then called without ``previous``).
    front_end : str | None
        Path of a factory of a Transformer that turns windows in the model's
        rate and unit, ``(n, n_channels, n_times)``, into the network's
        ``signal``; it is called with the estimator's input plan and has
        ``fit(signal, groups=None, sample_weight=None)`` and ``transform``.
    front_end_options : tuple of str
        Names in ``model_params`` that are the front end's, not the network's.
    micro_batch : int
        Epochs per forward pass on the CPU. More than one is faster, but only
        right for networks whose numbers for an epoch are the same to the bit
        at any place of a batch (the conformance kit checks that).
    poor_score : bool
        True where embeddings of a few short one-channel windows honestly
        cannot tell scikit-learn's test blobs apart (amplitude-free input, a
        very narrow network): sets scikit-learn's tag of that name.
    recipes : mapping of str to mapping
        Published ways to train a Classifier or Regressor on this model, by the
        name that ``recipe=`` takes (``"paper"``, ``"reference"`` for the
        authors' scripts where they differ): values of parameters of
        :class:`eegfound.estimators.FoundationClassifier`, those in
        ``RECIPE_KEYS``. What a user gives himself goes before.
    transformer, classifier, regressor, pretrainer : str | None
        Paths of the plugin's named estimator classes.
    golden : str | None
        Path of ``reproduce(case) -> dict`` for ``eegfound conformance``.
    citation, licence, url : str
        Paper, licence of the architecture's source, project page.
    api_version : int
        Version of this contract the plugin was written for.
    """

    name: str
    summary: str
    input: InputSpec
    network: str
    sizes: Mapping[str, Mapping[str, Any]]
    default_size: str
    aliases: tuple[str, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    poolings: tuple[str, ...] = ("mean", "cls", "max", "mean_std", "channels", "flatten")
    objective: str | None = None
    stages: tuple[PretrainingStage, ...] = ()
    front_end: str | None = None
    front_end_options: tuple[str, ...] = ()
    micro_batch: int = 1
    poor_score: bool = False
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transformer: str | None = None
    classifier: str | None = None
    regressor: str | None = None
    pretrainer: str | None = None
    golden: str | None = None
    citation: str = ""
    licence: str = ""
    url: str = ""
    api_version: int = API_VERSION
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.name != self.name.lower() or not self.name:
            raise PluginError(f"Model name {self.name!r} must be lower case and not empty.")
        if self.default_size not in self.sizes:
            raise PluginError(
                f"{self.name}: default_size={self.default_size!r} is not in sizes "
                f"{list(self.sizes)}."
            )
        for checkpoint in self.checkpoints:
            if checkpoint.size not in self.sizes:
                raise PluginError(
                    f"{self.name}: checkpoint {checkpoint.name!r} has unknown size "
                    f"{checkpoint.size!r}; sizes are {list(self.sizes)}."
                )

        for name, recipe in self.recipes.items():
            unknown = set(recipe) - RECIPE_KEYS
            if unknown:
                raise PluginError(
                    f"{self.name}: recipe {name!r} sets {sorted(unknown)}; a recipe may set "
                    f"{sorted(RECIPE_KEYS)}."
                )
            if any(value is None for value in recipe.values()):
                raise PluginError(
                    f"{self.name}: recipe {name!r} sets a parameter to None, which says nothing; "
                    "leave it out."
                )
        object.__setattr__(self, "recipes", {k: dict(v) for k, v in self.recipes.items()})

    def checkpoint(self, name: str) -> Checkpoint:
        """Return the checkpoint called ``name``.

        Raises
        ------
        SpecError
            If the model has no checkpoint of that name.
        """
        for checkpoint in self.checkpoints:
            if checkpoint.name == name:
                return checkpoint
        raise SpecError(
            f"{self.name} has no checkpoint {name!r}; known: {[c.name for c in self.checkpoints]}."
        )

    def build(self, size: str | None = None, *, pooling: str | None = None, **config: Any) -> Any:
        """Build the network of a named size with fresh weights.

        Parameters
        ----------
        size : str | None
            Named size; None is ``default_size``.
        pooling : str | None
            Read-out that will be applied; None is the model's default.
        **config : Any
            Overrides of the size's configuration.

        Returns
        -------
        torch.nn.Module
            An :class:`eegfound.models.network.EncoderNetwork`.
        """
        size = size or self.default_size
        if size not in self.sizes:
            raise SpecError(f"size={size!r} is not a size of {self.name}: {list(self.sizes)}.")
        return load_object(self.network)(
            pooling=pooling or self.poolings[0], **{**self.sizes[size], **config}
        )
