"""One of braindecode's networks as an encoder of the suite."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eegfound.models.network import EncoderNetwork, SignalBatch, Tokens
from eegfound.models.randomness import seeded_torch
from eegfound.nn.fast_linear import quicken
from eegfound_braindecode.checkpoint import convert
from eegfound_braindecode.importing import braindecode_models
from eegfound_braindecode.recipe import Recipe
from eegfound_braindecode.recipes import RECIPES
from eegfound_braindecode.recording import watch

#: Networks for one set of electrodes and one length that are kept.
_MAX_KEPT = 8
_building = threading.RLock()


class _WithoutInitialization(TorchFunctionMode):
    """Skip drawing values that are replaced at once (in this thread only)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


class BraindecodeEncoder(EncoderNetwork):
    """A network of ``braindecode.models`` without its head.

    Its parameters are braindecode's under ``model.``, so files saved from
    braindecode's networks load (see ``checkpoint.convert``). Networks that
    braindecode builds for one number of channels or samples are built again
    for each input that comes, around the same parameters.

    Parameters
    ----------
    recipe : str
        Key of ``RECIPES``.
    pooling : str
        Read-out the network is built for.
    **options : Any
        Constructor arguments of braindecode's class, ``normalize``, and the
        recipe's own options.
    """

    optional_state = ("model.norm.*", "model.fc_norm.*")

    def __init__(self, *, recipe: str, pooling: str = "mean", **options: Any) -> None:
        super().__init__()
        self.config = {"recipe": recipe, "pooling": pooling, **options}
        self.recipe: Recipe = RECIPES[recipe](options, pooling)
        meta = torch.get_default_device().type == "meta"
        self.model = self._construct(self.recipe.arguments(), draw=not meta)
        for name in self.recipe.passing:
            value = getattr(self.model, name)
            delattr(self.model, name)
            self.model.register_buffer(name, value, persistent=False)
        if meta:  # some constructors ask for numbers, which meta tensors do not have
            self.model.to("meta")
        else:
            self.recipe.complete(self.model)
        watch(self.recipe.states(self.model))
        self.width = self.recipe.width(self.model)
        self.n_layers = self.recipe.n_layers(self.model)
        self._kept: dict[Any, nn.Module] = {}

    def _construct(self, arguments: dict[str, Any], *, draw: bool) -> nn.Module:
        """Call braindecode's constructor and take the heads away."""
        cls = getattr(braindecode_models(), self.recipe.cls)
        given = {"n_outputs": 1, "sfreq": self.recipe.sfreq, **arguments, **self.recipe.options}
        with _building, warnings.catch_warnings(), torch.device("cpu"), self.recipe.construction():
            warnings.simplefilter("ignore")
            if draw:
                model = cls(**given)
            else:
                with seeded_torch(0), _WithoutInitialization():
                    model = cls(**given)
        for name in self.recipe.heads:
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, nn.Identity())
        return quicken(model)

    def _module_for(self, x: Tensor, batch: SignalBatch) -> nn.Module:
        """Return the network that takes this input, with the current parameters."""
        wanted = self.recipe.arguments_for(x, batch)
        if wanted is None:
            return self.model
        key, arguments = wanted
        with _building:
            module = self._kept.get(key)
            if module is None:
                with torch.inference_mode(False):  # what is kept must serve training too
                    module = self._construct(arguments, draw=False).to(x)
                self._share(module)
                watch(self.recipe.states(module))
                while len(self._kept) >= _MAX_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = module
            if module.training != self.training:
                module.train(self.training)
        return module

    def _share(self, module: nn.Module) -> None:
        """Put the parameters (themselves, not copies) into another network."""
        for name, parameter in self.model.named_parameters():
            owner, _, leaf = name.rpartition(".")
            module.get_submodule(owner)._parameters[leaf] = parameter
        self.recipe.link(module, self.model)

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch; see :class:`eegfound.models.network.EncoderNetwork`."""
        x = self.recipe.prepare(batch.signal, batch)
        module = self._module_for(x, batch)
        if layer is None:
            return self.recipe.encode(module, x, batch)
        return self.recipe.state(self.recipe.read(layer, module, x, batch), x, batch)

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Compute a read-out of the model's own."""
        return self.recipe.pool(self.model, tokens, pooling)

    def finish_pooling(self, pooled: Tensor) -> Tensor:
        """Apply what the model does after pooling."""
        return self.recipe.finish_pooling(self.model, pooled)

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Take a state dict of braindecode as it is, where no checkpoint is declared."""
        if all(key.startswith("model.") for key in state):
            return state, ()
        converted, dropped = convert(state, self)
        return converted, tuple(dropped)

    def layer_index(self, name: str) -> int:
        """Return 0 for embeddings, i + 1 for layer i, the top for what comes after."""
        name = name.removeprefix("model.")
        if name.startswith(f"{self.recipe.layers}."):
            return int(name.removeprefix(f"{self.recipe.layers}.").split(".")[0]) + 1
        return self.n_layers + 1 if name.startswith(self.recipe.top) else 0

    def no_weight_decay(self) -> set[str]:
        """Return tables and special tokens."""
        own = {name for name, _ in self.named_parameters()}
        return {f"model.{name}" for name in self.recipe.tables} & own

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        self._kept = {}  # buffers of the kept networks would stay where they were
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> BraindecodeEncoder:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        own = {key: value for key, value in self.__dict__.items() if key != "_kept"}
        new.__dict__.update(copy.deepcopy(own, memo))
        new._kept = {}
        return new

    def __reduce__(self) -> Any:
        # By configuration and tensors: unpickling braindecode's own classes would
        # import braindecode without what `importing` does for it, and networks
        # with parametrized weights cannot be pickled.
        grads = {name: p.requires_grad for name, p in self.named_parameters()}
        return _rebuild, (self.config, dict(self.state_dict()), grads, self.training)


def _rebuild(
    config: dict[str, Any], state: dict[str, Tensor], grads: dict[str, bool], training: bool
) -> BraindecodeEncoder:
    with seeded_torch(0):
        network = BraindecodeEncoder(**config)
    own = network.state_dict(keep_vars=True)
    for key, value in state.items():
        own[key].data = value.detach().clone()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(grads[name])
    return network.train(training)


def build_encoder(**config: Any) -> BraindecodeEncoder:
    """Build an encoder; see :class:`BraindecodeEncoder` for the options."""
    return BraindecodeEncoder(**config)
