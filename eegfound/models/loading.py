"""Putting weights into networks: strictly, with a report, once per process."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import torch

from eegfound.base import CheckpointError, RandomWeightsWarning, SpecError
from eegfound.models.files import fingerprint, read_tensors
from eegfound.models.network import EncoderNetwork
from eegfound.models.randomness import seeded_torch
from eegfound.models.report import LoadReport
from eegfound.models.spec import FoundationModel, load_object
from eegfound.models.store import CheckpointFile, find_checkpoint
from eegfound.models.trained import TrainedWeights
from eegfound.nn.fast_linear import quicken


@dataclass(frozen=True)
class LoadedEncoder:
    """A network with weights, in eval mode, shared within the process.

    Attributes
    ----------
    network : EncoderNetwork
        Must not be changed; copy it before training.
    size : str
        Named size.
    config : dict
        Configuration it was built with.
    fingerprint : str
        Digest of its tensors.
    weights : str
        Name or path of the checkpoint, ``"random"``, or ``"memory"``.
    report : LoadReport | None
        None for random weights.
    file : CheckpointFile | None
        None for weights that are in no file.
    front_end : dict
        Options of the front end that the weights were trained with.
    """

    network: EncoderNetwork
    size: str
    config: Mapping[str, Any]
    fingerprint: str
    weights: str
    report: LoadReport | None = None
    file: CheckpointFile | None = field(default=None, repr=False)
    front_end: Mapping[str, Any] = field(default_factory=dict)


def load_state(
    network: torch.nn.Module,
    state: Mapping[str, Any],
    *,
    optional: tuple[str, ...] = (),
    dropped: tuple[str, ...] = (),
    source: str = "",
    record: Mapping[str, Any] | None = None,
) -> LoadReport:
    """Copy a state dict into a network if, and only if, it fits.

    Parameters
    ----------
    network : Module
        Receives the tensors; unchanged when the state does not fit.
    state : mapping of str to Tensor
        The tensors, under the network's own names.
    optional : tuple of str
        ``fnmatch`` patterns of tensors that may be missing.
    dropped : tuple of str
        What a converter left out, for the report.
    source : str
        Where the state came from, for the report.
    record : mapping | None
        What the weights were trained on, for the report.

    Returns
    -------
    LoadReport
        Whose ``ok`` tells whether the tensors were copied.
    """
    own = network.state_dict()
    absent = [key for key in own if key not in state]
    may_miss = {key for key in absent if any(fnmatch(key, pattern) for pattern in optional)}
    mismatched = tuple(
        (key, _kind(state[key]), _kind(own[key]))
        for key in own
        if key in state
        and (
            tuple(state[key].shape) != tuple(own[key].shape)
            or state[key].is_floating_point() != own[key].is_floating_point()
        )
    )
    wrong = {key for key, _, _ in mismatched}
    report = LoadReport(
        matched=tuple(key for key in own if key in state and key not in wrong),
        missing=tuple(key for key in absent if key not in may_miss),
        unexpected=tuple(key for key in state if key not in own),
        mismatched=mismatched,
        optional=tuple(sorted(may_miss)),
        dropped=tuple(dropped),
        source=source,
        record=dict(record or {}),
    )
    if report.ok:
        with torch.no_grad():
            for key in report.matched:
                own[key].copy_(state[key])
    return report


def _kind(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return the shape, and the type where it is not floating-point."""
    shape = tuple(tensor.shape)
    return shape if tensor.is_floating_point() else (*shape, str(tensor.dtype))


def build_random(
    model: FoundationModel, size: str, pooling: str | None, config: Mapping[str, Any], seed: int
) -> EncoderNetwork:
    """Build a network with fresh weights drawn from ``seed`` alone."""
    with seeded_torch(seed):
        try:
            network = model.build(size, pooling=pooling, **config)
        except TypeError as error:
            raise SpecError(
                f"model_params={dict(config)} do not fit the network of {model.name}: {error}"
            ) from error
    if not isinstance(network, EncoderNetwork):
        raise CheckpointError(f"{model.name}: {model.network} did not return an EncoderNetwork.")
    return quicken(network.float().eval())


def _read_file(model: FoundationModel, file: CheckpointFile, network: EncoderNetwork) -> LoadReport:
    spec = file.spec
    if file.metadata.get("content") == "objectives":
        raise CheckpointError(
            f"{file.path} holds whole objectives (save(what='objective')): they go into "
            "checkpoint= of a Pretrainer. Write the encoder with save(path)."
        )
    raw = read_tensors(file.path, spec.safe_globals if spec else ())
    dropped: tuple[str, ...] = ()
    # What our own files may lack is a matter of the network, wherever they were found.
    foreign = spec is not None and not file.metadata
    optional = spec.optional_keys if spec and foreign else network.optional_state
    if spec is not None and spec.converter:
        try:
            state, left_out = load_object(spec.converter)(raw, network)
        except Exception as error:  # the file may hold anything at all
            raise CheckpointError(
                f"{file.path} does not have the layout of {spec.name!r}: {error}"
            ) from error
        dropped = tuple(left_out)
    else:
        _check_state(raw, file)
        state, dropped = network.adapt_state(raw)
    _check_state(state, file)
    report = load_state(
        network, state, optional=optional, dropped=dropped, source=str(file.path),
        record=_record_of(file),
    )  # fmt: skip
    _check_report(report, model, state, file.size)
    return report


def _record_of(file: CheckpointFile) -> dict[str, Any]:
    """Return what the weights of a file were trained on, as far as anybody told."""
    told = file.metadata.get("record")
    if isinstance(told, dict):
        return told
    names = file.spec.pretraining_datasets if file.spec else ()
    return {"datasets": [{"name": name} for name in names]} if names else {}


def _check_report(
    report: LoadReport, model: FoundationModel, state: Mapping[str, Any], size: str
) -> None:
    """Raise where weights did not fit, or hold what is no number."""
    if not report.ok:
        raise CheckpointError(
            f"{report.source} does not fit {model.name} of size {size!r} ({report.summary()}). "
            f"{report.faults()}.{_other_size(model, state, size)}"
        )
    for key in report.matched:
        if state[key].is_floating_point() and not torch.isfinite(state[key]).all():
            raise CheckpointError(f"{report.source}: tensor {key!r} holds NaN or infinity.")


def _take_memory(
    model: FoundationModel, given: TrainedWeights, network: EncoderNetwork
) -> LoadReport:
    state, dropped = network.adapt_state(dict(given.state))
    report = load_state(
        network, state, optional=network.optional_state, dropped=dropped, source=repr(given),
        record=given.metadata.get("record"),
    )  # fmt: skip
    _check_report(report, model, state, given.size)
    return report


def _check_memory(model: FoundationModel, given: TrainedWeights, size: str | None) -> None:
    if given.model != model.name:
        raise CheckpointError(f"{given!r} holds weights of {given.model!r}, not of {model.name!r}.")
    if size not in (None, given.size):
        raise CheckpointError(
            f"{given!r} is of size {given.size!r} but size={size!r} was asked for: leave size out."
        )


def _check_state(state: Any, file: CheckpointFile) -> None:
    """Refuse what is no dict of ordinary floating-point tensors."""
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise CheckpointError(f"{file.path} does not hold a state dict (name to tensor).")
    for key, value in state.items():
        if value.layout != torch.strided or value.is_complex() or value.is_quantized:
            raise CheckpointError(f"{file.path}: tensor {key!r} is no ordinary array.")


def _other_size(model: FoundationModel, state: Mapping[str, Any], tried: str) -> str:
    """Name the size whose tensors have the shapes in the file, if there is one."""
    for size in model.sizes:
        if size == tried:
            continue
        with torch.device("meta"):
            other = model.build(size).state_dict()
        common = [key for key in other if key in state]
        if common and all(tuple(state[k].shape) == tuple(other[k].shape) for k in common):
            return f" Its shapes are those of size={size!r}."
    return ""


_MAX_SHARED = 4
#: Models that stand in the keys of shared networks, by number.
_owners: dict[int, FoundationModel] = {}
_shared: OrderedDict[tuple[Any, ...], LoadedEncoder] = OrderedDict()
# Held while a network is built and read: nobody does the same work twice.
_lock = threading.RLock()


def _hashable(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, _exact(value)) for key, value in config.items()))


def _exact(value: Any) -> str:
    """Return text that differs wherever values do; an array's repr is rounded and cut."""
    if hasattr(value, "tobytes"):
        return f"{value.dtype}{value.shape}{value.tobytes()!r}"
    return repr(value)


def load_encoder(
    model: FoundationModel,
    *,
    size: str | None = None,
    checkpoint: Any = "default",
    pooling: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    warn: bool = True,
) -> LoadedEncoder:
    """Return a network with weights; the same object for the same request.

    Parameters
    ----------
    model : FoundationModel
        The model.
    size : str | None
        Named size; None takes the checkpoint's or the model's default.
    checkpoint : str | path-like | TrainedWeights | None
        See :func:`eegfound.models.store.find_checkpoint`; None means random
        weights drawn from ``seed``.
    pooling : str | None
        Read-out the network is built for.
    config : mapping | None
        Overrides of the size's configuration.
    seed : int
        Seed of random weights (and of tensors a checkpoint may lack).
    warn : bool
        Whether random weights are announced.

    Returns
    -------
    LoadedEncoder
        With the network in eval mode.

    Raises
    ------
    CheckpointError
        If a file cannot be found, read, or does not fit.
    """
    config = dict(config or {})
    file, memory = None, checkpoint if isinstance(checkpoint, TrainedWeights) else None
    metadata: Mapping[str, Any] = {}
    if memory is not None:
        _check_memory(model, memory, size)
        size, metadata = memory.size, memory.metadata
        config = {**metadata.get("config", {}), **config}
    elif checkpoint is not None:
        file = find_checkpoint(model, checkpoint, size=size)
        metadata = file.metadata
        config = {**metadata.get("config", {}), **config}
    elif warn:
        warnings.warn(
            f"{model.name}: random weights (checkpoint=None). This network is untrained: its "
            "embeddings are a random projection, not those of a foundation model.",
            RandomWeightsWarning,
            stacklevel=3,
        )
    size = file.size if file else (size or model.default_size)
    source: tuple[str, ...] = ("random", str(seed))
    if file is not None:
        source = (str(file.path), file.sha256, file.published or "")
    source = source if memory is None else ("memory", memory.fingerprint)
    key = (model.name, id(model), size, pooling, _hashable(config), source, seed)
    with _lock:
        if key in _shared:
            _shared.move_to_end(key)
            return _shared[key]
        network = build_random(model, size, pooling, config, seed)
        report = _read_file(model, file, network) if file else None
        weights = "random" if file is None else (file.published or str(file.path))
        if memory is not None:
            report, weights = _take_memory(model, memory, network), "memory"
        network.requires_grad_(False)
        loaded = LoadedEncoder(
            network, size, config, fingerprint(network.state_dict()), weights, report, file,
            dict(metadata.get("front_end", {})),
        )  # fmt: skip
        _owners[id(model)] = model  # kept: no other model may get its number
        _shared[key] = loaded
        while len(_shared) > _MAX_SHARED:
            _shared.popitem(last=False)
    return loaded
