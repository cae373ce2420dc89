"""Models with one token per electrode and patch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch, Tokens
from eegfound_braindecode.importing import braindecode_models
from eegfound_braindecode.positions import template_positions
from eegfound_braindecode.recipe import Recipe, chs_info, grid, part, places
from eegfound_braindecode.recording import Place
from eegfound_braindecode.vocabulary import EEGDINO as SLOTS
from eegfound_braindecode.vocabulary import LABRAM


class CBraMod(Recipe):
    """Criss-cross attention; the output goes through the pretrained ``proj_out``."""

    cls, sfreq = "CBraMod", 200.0
    layers, top = "encoder.layers", ("proj_out.",)

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return what braindecode calls the features."""
        return grid(self.call(module, x, batch)["features"])

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read ``(n_epochs, n_channels, n_patches, width)``."""
        return grid(raw)

    def width(self, model: nn.Module) -> int:
        """Return the width of ``proj_out``."""
        return int(part(model, "proj_out.0").out_features)


class CodeBrain(Recipe):
    """Structured state-space blocks over the sequence of all channels' patches."""

    cls, sfreq = "CodeBrain", 200.0
    heads = ("final_layer", "lm_head_t", "lm_head_f")
    left_out = ("final_layer.", "lm_head_t.", "lm_head_f.")
    layers, top = "residual_layer.residual_blocks", ("final_conv.", "norm.")

    def complete(self, model: nn.Module) -> None:
        """Fix what the first forward pass would fix, and wake the silent output.

        braindecode stores the norm of each kernel in the first forward pass;
        here no forward pass may change the network. And its last convolution
        starts at zero, which makes every embedding of an untrained network
        the same; ours starts like the other convolutions.
        """
        last = part(model, "final_conv.2.conv")
        if not any(p.any() for p in last.parameters()):
            nn.init.kaiming_normal_(last.weight)
        with torch.no_grad():
            model.eval()(torch.zeros(1, 1, 200), return_features=True)
        model.train()

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return what braindecode calls the features."""
        return grid(self.call(module, x, batch)["features"])

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read the residual stream, ``(n_epochs, width, n_channels * n_patches)``."""
        stream = raw[0].transpose(1, 2)
        n_channels = x.shape[1]
        return Tokens(stream, *places(x.device, n_channels, stream.shape[1] // n_channels))

    def width(self, model: nn.Module) -> int:
        """Return the width of the final norm."""
        return int(part(model, "norm").normalized_shape[0])

    def convert(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute kernel norms that a file says were never computed."""
        flags = [key for key in state if key.endswith("kernel_norm_initialized")]
        if not flags or all(bool(state[key]) for key in flags):
            return state
        own = copy.deepcopy(model)
        own.load_state_dict({k: v for k, v in state.items() if k in own.state_dict()}, strict=False)
        self.complete(own)
        norms = {k: v for k, v in own.state_dict().items() if ".kernel_norm" in k}
        return state | norms


class EEGDINO(Recipe):
    """A transformer with a global token; channel ``i`` has slot ``i``."""

    cls, sfreq = "EEGDINO", 200.0
    layers, tables = "encoder_layers", ("global_tokens",)
    own: ClassVar = {"slot_order": None}

    def prepare(self, x: Tensor, batch: SignalBatch) -> Tensor:
        """Bring channels into the order of the slots."""
        order = self.settings["slot_order"]
        if order is not None:
            wanted = [str(name).upper() for name in order]
            if sorted(wanted) != sorted(SLOTS):
                raise SpecError(
                    f"model_params={{'slot_order': …}} must name each of these once: {list(SLOTS)}."
                )
            x = x[:, [SLOTS.index(name) for name in wanted]]
        return super().prepare(x, batch)

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the global token and what braindecode calls the features."""
        out = self.call(module, x, batch)
        return self.state(torch.cat([out["cls_token"][:, None], out["features"]], dim=1), x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence with or without the global token at its head."""
        n_channels = x.shape[1]
        n_patches, summaries = divmod(raw.shape[1], n_channels)
        return Tokens(raw, *places(x.device, n_channels, n_patches, summaries=summaries))

    def width(self, model: nn.Module) -> int:
        """Return the width of the global token."""
        return int(model.get_parameter("global_tokens").shape[-1])


class Labram(Recipe):
    """LaBraM; braindecode builds it for one length and one table of times."""

    cls, sfreq = "Labram", 200.0
    layers, top = "blocks", ("norm.", "fc_norm.")
    tables = ("cls_token", "position_embedding", "temporal_embedding")
    #: The published table has 16 rows, which braindecode gives to windows of 15 s.
    own: ClassVar = {"n_times": 3000}

    def arguments(self) -> dict[str, Any]:
        """Build for the longest window, with the norm of the read-out."""
        return {
            "n_chans": 1,
            "n_times": self.settings["n_times"],
            "use_mean_pooling": self.pooling != "cls",
        }

    def arguments_for(self, x: Tensor, batch: SignalBatch) -> tuple[Any, dict[str, Any]] | None:
        """Build again for other lengths."""
        n_times = x.shape[-1]
        if n_times > self.settings["n_times"]:
            raise SpecError(
                f"Windows of {n_times} samples are longer than the table of times of this "
                f"network ({self.settings['n_times']} samples): pass shorter windows."
            )
        if n_times == self.settings["n_times"]:
            return None
        return n_times, {**self.arguments(), "n_times": n_times}

    def link(self, module: nn.Module, model: nn.Module) -> None:
        """Give a network for short windows the first rows of the table of times."""
        rows = int(part(module, "patch_embed.segment_patch").n_patchs) + 1
        parametrize.register_parametrization(
            module, "temporal_embedding", _FirstRows(rows), unsafe=True
        )
        owner = module.get_submodule("parametrizations.temporal_embedding")
        owner._parameters["original"] = model.get_parameter("temporal_embedding")

    def call(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Any:
        """Run the network with the names of the table."""
        names = [LABRAM[row] for row in batch.rows.tolist()]
        return module(x, ch_names=names)

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Add what comes out of the final norm (the identity with mean pooling)."""
        return {**super().states(module), "out": (module.get_submodule("norm"), "output")}

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return class and patch tokens; normed unless the mean is normed later."""
        tokens = self.read("out", module, x, batch)
        if self.pooling not in ("mean", "cls"):
            tokens = module.get_submodule("fc_norm")(tokens)
        return self.state(tokens, x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence with the class token at its head."""
        n_patches = (raw.shape[1] - 1) // x.shape[1]
        return Tokens(raw, *places(x.device, x.shape[1], n_patches, summaries=1))

    def finish_pooling(self, model: nn.Module, pooled: Tensor) -> Tensor:
        """Norm the mean, as braindecode does."""
        return model.get_submodule("fc_norm")(pooled) if self.pooling == "mean" else pooled

    def width(self, model: nn.Module) -> int:
        """Return the width of the class token."""
        return int(model.get_parameter("cls_token").shape[-1])

    def convert(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take as many rows of the table of times as this network has."""
        rows = model.get_parameter("temporal_embedding").shape[1]
        if "temporal_embedding" in state and state["temporal_embedding"].shape[1] > rows:
            state = {**state, "temporal_embedding": state["temporal_embedding"][:, :rows]}
        own = model.state_dict()
        spare = ("norm.", "fc_norm.")
        return {k: v for k, v in state.items() if k in own or not k.startswith(spare)}


class _FirstRows(nn.Module):
    """The first rows of a table of times."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, table: Tensor) -> Tensor:
        """Return them."""
        return table[:, : self.rows]


class STEEGFormer(Recipe):
    """A plain vision transformer; channels are rows of a table of electrodes."""

    cls, sfreq, normalize = "STEEGFormer", 128.0, "clip500_zscore"
    layers, top = "encoder", ("norm.",)
    tables = ("cls_token", "channel_pos.embedding.weight")

    def arguments(self) -> dict[str, Any]:
        """Build for the first electrode of the table."""
        return {**super().arguments(), "chan_pos_idx": [0]}

    def arguments_for(self, x: Tensor, batch: SignalBatch) -> tuple[Any, dict[str, Any]] | None:
        """Build again for each set of electrodes."""
        rows = batch.rows.tolist()
        return tuple(rows), {
            "n_chans": len(rows), "n_times": x.shape[-1], "chan_pos_idx": rows,
        }  # fmt: skip

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return class token and features, all normed as braindecode returns them."""
        out = self.call(module, x, batch)
        return self.state(torch.cat([out["cls_token"][:, None], out["features"]], dim=1), x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence with the class token at its head, patch by patch."""
        n_patches = (raw.shape[1] - 1) // x.shape[1]
        return Tokens(raw, *places(x.device, x.shape[1], n_patches, time_major=True, summaries=1))

    def width(self, model: nn.Module) -> int:
        """Return the width of the class token."""
        return int(model.get_parameter("cls_token").shape[-1])


class REVE(Recipe):
    """A transformer on patches with four-dimensional positions."""

    cls, sfreq, normalize = "REVE", 200.0, "zscore_clip15"
    layers, tables = "transformer.layers", ("cls_query_token",)
    own: ClassVar = {"position_bank": None}

    def arguments(self) -> dict[str, Any]:
        """Have the query of the attention pooling only where it is the read-out."""
        return {**super().arguments(), "attention_pooling": self.pooling == "attention"}

    @contextmanager
    def construction(self) -> Iterator[None]:
        """Keep the constructor from downloading the position bank.

        Positions are given in each forward pass, so the bank is not needed.
        """
        with patch.object(_module_of("REVE"), "RevePositionBank", nn.Identity):
            yield

    def call(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Any:
        """Run the network with positions in the frame of its bank."""
        assert batch.positions is not None
        xyz = template_positions(
            batch.ch_names, batch.positions.cpu().numpy(), self.settings["position_bank"]
        )
        pos = torch.from_numpy(xyz).to(x).expand(len(x), -1, -1)
        return module(x, pos=pos, return_features=True)

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Read before each attention, and after the last feed-forward network."""
        layers = list(module.get_submodule(self.layers).children())
        found: dict[int | str, Place] = {
            k: (layer.get_submodule("0"), "input") for k, layer in enumerate(layers)
        }
        found[len(layers)] = (module.get_submodule("transformer"), "output")
        return found

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return what braindecode calls the features."""
        return grid(self.call(module, x, batch)["features"])

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence, channel by channel."""
        return Tokens(raw, *places(x.device, x.shape[1], raw.shape[1] // x.shape[1]))

    def pool(self, model: nn.Module, tokens: Tokens, pooling: str) -> Tensor | None:
        """Weigh tokens by the pretrained query (REVE's attention pooling)."""
        if pooling != "attention":
            return None
        query, values = model.get_parameter("cls_query_token"), tokens.values
        scores = query.expand(len(values), -1, -1) @ values.transpose(1, 2)
        return (torch.softmax(scores / values.shape[-1] ** 0.5, dim=-1) @ values).squeeze(1)

    def width(self, model: nn.Module) -> int:
        """Return the width of the patch embedding."""
        return int(part(model, "to_patch_embedding.0").out_features)

    def convert(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave the query out where it is not read."""
        return state if self.pooling == "attention" else {
            k: v for k, v in state.items() if k != "cls_query_token"
        }  # fmt: skip


class MVPFormer(Recipe):
    """Attention over segments and channels of intracranial EEG, causal in time."""

    cls, sfreq = "MVPFormer", 512.0
    layers, top = "blocks", ("ln_f.",)
    tables = ("positional_embedding.weight", "channel_embedding.weight")

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Add the tokens after the final norm; braindecode returns only the last segment's."""
        return {**super().states(module), "out": (module.get_submodule("ln_f"), "output")}

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the normed tokens of all segments."""
        return self.state(self.read("out", module, x, batch), x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read ``(n_epochs, n_segments, n_channels, width)``."""
        n_segments, n_channels = raw.shape[1:3]
        return Tokens(raw.flatten(1, 2), *places(x.device, n_channels, n_segments, time_major=True))

    def pool(self, model: nn.Module, tokens: Tokens, pooling: str) -> Tensor | None:
        """Average the last segment over channels, which is braindecode's read-out."""
        if pooling != "last_segment":
            return None
        return tokens.values[:, tokens.times == tokens.times.max()].mean(dim=1)

    def width(self, model: nn.Module) -> int:
        """Return the width of the final norm."""
        return int(part(model, "ln_f").normalized_shape[0])


class ZUNA(Recipe):
    """The encoder of a diffusion autoencoder; electrodes are places on the head."""

    cls, sfreq, normalize = "ZUNA", 256.0, "window_zscore_tenth"
    layers, top, tables = "encoder.layers", ("encoder.norm.", "encoder.output."), (
        "encoder.registers",
    )  # fmt: skip

    def arguments(self) -> dict[str, Any]:
        """Build for one patch of one electrode."""
        return {"n_times": 32, "chs_info": chs_info(("Cz",), np.array([[0.0, 0.0, 0.1]]))}

    def arguments_for(self, x: Tensor, batch: SignalBatch) -> tuple[Any, dict[str, Any]] | None:
        """Build again for each set of places and each length."""
        assert batch.positions is not None
        xyz = batch.positions.cpu().numpy()
        return (xyz.tobytes(), x.shape[-1]), {
            "n_times": x.shape[-1], "chs_info": chs_info(batch.ch_names, xyz),
        }  # fmt: skip

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Add the latents of all patches; braindecode returns their mean over time."""
        return {**super().states(module), "out": (module.get_submodule("encoder"), "output")}

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the latent of each patch."""
        latents = self.read("out", module, x, batch)
        return Tokens(latents, *places(x.device, x.shape[1], latents.shape[1] // x.shape[1]))

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read pairs of register and patch, channel by channel."""
        channels, times = places(x.device, x.shape[1], raw.shape[1] // 2 // x.shape[1])
        return Tokens(raw, channels.repeat_interleave(2), times.repeat_interleave(2))

    def width(self, model: nn.Module) -> int:
        """Return the length of a latent."""
        return int(part(model, "encoder.output").out_features)


def _module_of(cls: str) -> Any:
    """Return the module in which a class of ``braindecode.models`` is defined."""
    import sys

    return sys.modules[getattr(braindecode_models(), cls).__module__]
