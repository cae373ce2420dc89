"""A frozen encoder that clones and pickles as a reference, not as tensors."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from eegfound.base import CheckpointError, SpecError
from eegfound.estimators._compiled import CompiledNetwork
from eegfound.estimators._precision import (
    AGREEMENT,
    FLOAT32,
    Precision,
    agreement,
    check_dtype,
    has_bfloat16,
    placed_copy,
    precision_of,
)
from eegfound.models import FoundationModel, get_model
from eegfound.models.loading import LoadedEncoder, build_random, load_encoder, load_state
from eegfound.models.network import EncoderNetwork


def resolve_device(device: str) -> str:
    """Return the torch device meant by ``device`` (``"auto"``: GPU if there is one)."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SpecError(f"device={device!r} is not a torch device: {error}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise SpecError(f"device={device!r}: torch sees no CUDA device here; use device='auto'.")
    return device


#: What ``dtype="auto"`` came to, by weights, read-out and device.
_CHOSEN: dict[tuple[str, str, str], Precision] = {}


class EncoderHandle:
    """A frozen network of one estimator.

    In memory it shares the network with every other estimator that asked for
    the same weights. Pickled, it is the model's name, the configuration, where
    the weights came from and their fingerprint; published weights are found
    again when needed. Only weights that are in no file (random, or just
    trained) travel as tensors, because nobody else has them.

    Parameters
    ----------
    model : str
        Name of the model.
    loaded : LoadedEncoder
        The network and where it comes from.
    pooling : str
        Read-out the network was built for.
    seed : int
        Seed of random weights.
    """

    def __init__(self, model: str, loaded: LoadedEncoder, pooling: str, seed: int) -> None:
        self.model = model
        self.size = loaded.size
        self.config: dict[str, Any] = dict(loaded.config)
        self.pooling = pooling
        self.seed = seed
        self.weights = loaded.weights
        self.fingerprint = loaded.fingerprint
        self.report = loaded.report
        self.front_end: dict[str, Any] = dict(loaded.front_end)
        self.checkpoint: str | None = None
        self.checkpoint_name: str | None = None
        self.sha256: str | None = None
        if loaded.file is not None:
            self.sha256 = loaded.file.sha256
            self.checkpoint = str(loaded.file.path)
            self.checkpoint_name = loaded.file.published
        self._network: EncoderNetwork | None = loaded.network
        self._forget()

    @classmethod
    def load(
        cls,
        model: FoundationModel,
        *,
        size: str | None,
        checkpoint: Any,
        pooling: str,
        config: Mapping[str, Any] | None,
        seed: int,
    ) -> EncoderHandle:
        """Find, read and check the weights of a model."""
        loaded = load_encoder(
            model, size=size, checkpoint=checkpoint, pooling=pooling, config=config, seed=seed
        )
        return cls(model.name, loaded, pooling, seed)

    @property
    def network(self) -> EncoderNetwork:
        """The network on the CPU in float32; loaded again after unpickling.

        Raises
        ------
        CheckpointError
            If the weights are not to be found, or are others than before.
        """
        if self._network is None:
            self._network = self._find_again()
        return self._network

    def _find_again(self) -> EncoderNetwork:
        model = get_model(self.model)
        problems = []
        path = None if self.checkpoint is None else Path(self.checkpoint)
        for place in (path, self.checkpoint_name):
            if place is None:
                continue
            try:
                loaded = load_encoder(
                    model, size=self.size, checkpoint=place,
                    pooling=self.pooling, config=self.config, seed=self.seed,
                )  # fmt: skip
            except (CheckpointError, SpecError) as error:
                problems.append(str(error))
                continue
            if loaded.fingerprint == self.fingerprint:
                return loaded.network
            problems.append(
                f"{place} now gives fingerprint {loaded.fingerprint}, the estimator was fitted "
                f"with {self.fingerprint}: the file has changed"
            )
        raise CheckpointError(
            f"The weights this {self.model} estimator was fitted with ({self.weights}, sha256 "
            f"{self.sha256}) were not found: {'; '.join(problems)}"
        )

    def _forget(self) -> None:
        """Start with no copies: they belong to this process."""
        self._placed: dict[tuple[str, Precision], EncoderNetwork] = {}
        self._tuned: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()
        self._compiled: dict[tuple[str, Precision], CompiledNetwork] = {}

    def precision(
        self, dtype: str, device: str, probe: Callable[[Precision], torch.Tensor]
    ) -> Precision:
        """Return the numbers that ``dtype`` means on a device.

        Parameters
        ----------
        dtype : str
            Name of a precision. ``"auto"``: bfloat16 on a device that has it in
            hardware, if the embeddings then agree with float32's.
        device : str
            Torch device.
        probe : callable
            Gives embeddings of some epochs in a precision; called once per
            process and weights, and only where there is a choice.

        Returns
        -------
        Precision
            What weights are rounded to, and what is computed with.
        """
        check_dtype(dtype)
        if dtype != "auto":
            return precision_of(dtype, device)
        if not has_bfloat16(device):
            return FLOAT32
        asked = (self.fingerprint, self.pooling, device)
        if asked not in _CHOSEN:
            reduced = precision_of("bfloat16", device)
            agree = agreement(probe(FLOAT32), probe(reduced)) >= AGREEMENT
            _CHOSEN[asked] = reduced if agree else FLOAT32
        return _CHOSEN[asked]

    def placed(self, device: str, dtype: torch.dtype | Precision) -> EncoderNetwork:
        """Return the network on a device and in a precision."""
        precision = dtype if isinstance(dtype, Precision) else Precision(dtype, dtype)
        if device == "cpu" and precision == FLOAT32:
            return self.network
        if (device, precision) not in self._placed:
            self._placed[device, precision] = placed_copy(self.network, device, precision)
        return self._placed[device, precision]

    def placed_tuned(self, network: Any, device: str, precision: Precision) -> Any:
        """Return a tuned network likewise; copied again only after it has changed."""
        if device == "cpu" and precision == FLOAT32 and not next(network.parameters()).is_cuda:
            return network
        # Every change of a tensor in place, as optimizers make them, is counted by torch.
        tensors = (*network.parameters(), *network.buffers())
        state = (device, precision, *((t.data_ptr(), t._version) for t in tensors))
        made = self._tuned.get(network)
        if made is None or made[0] != state:
            made = self._tuned[network] = (state, placed_copy(network, device, precision))
        return made[1]

    def compiled(self, device: str, precision: Precision) -> CompiledNetwork:
        """Return :meth:`placed` through ``torch.compile``, once per process."""
        if (device, precision) not in self._compiled:
            self._compiled[device, precision] = CompiledNetwork(self.placed(device, precision))
        return self._compiled[device, precision]

    def trainable_copy(self) -> EncoderNetwork:
        """Return a copy of the network that may be trained."""
        network = copy.deepcopy(self.network)
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        return network

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_network": None}
        for own in ("_placed", "_tuned", "_compiled"):
            del state[own]
        if self.checkpoint is None:
            from safetensors.torch import save

            state["_tensors"] = save(
                {k: v.contiguous() for k, v in self.network.state_dict().items()}
            )
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        tensors = state.pop("_tensors", None)
        self.__dict__.update(state)
        self._forget()
        if tensors is not None:
            from safetensors.torch import load

            network = build_random(
                get_model(self.model), self.size, self.pooling, self.config, self.seed
            )
            report = load_state(network, load(tensors), source="pickle")
            if not report.ok:
                raise CheckpointError(
                    f"The pickled weights do not fit this release of {self.model}: "
                    f"{report.faults()}"
                )
            self._network = network.requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> EncoderHandle:
        return self  # frozen: a copy would be the same

    def __sklearn_clone__(self) -> EncoderHandle:
        return self
