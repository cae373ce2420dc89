"""Models whose tokens mix electrodes, or that need a fixed set of them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from eegfound.models.network import SignalBatch, Tokens
from eegfound_braindecode.recipe import Recipe, chs_info, part, places
from eegfound_braindecode.recording import Place
from eegfound_braindecode.vocabulary import EEGPT as EEGPT_NAMES
from eegfound_braindecode.vocabulary import SIGNALJEPA as SIGNALJEPA_NAMES


def _moments(device: Any, count: int, summaries: int = 0) -> tuple[Tensor, Tensor]:
    """Return channel and time of tokens that stand for all electrodes at a moment."""
    times = torch.cat(
        [torch.full((summaries,), -1, device=device), torch.arange(count, device=device)]
    )
    return torch.full_like(times, -1), times


class BENDR(Recipe):
    """Convolutions over all electrodes, then a transformer with a start token."""

    cls, sfreq, normalize = "BENDR", 256.0, "minmax"
    layers = "contextualizer.transformer_layers"
    top = ("contextualizer.norm.", "contextualizer.output_layer.")
    own: ClassVar = {"amplitude_range": None}

    def arguments(self) -> dict[str, Any]:
        """Build for 19 electrodes and the channel SCALE."""
        return {"n_chans": 20, "n_times": round(10 * self.sfreq)}

    def prepare(self, x: Tensor, batch: SignalBatch) -> Tensor:
        """Normalize, and append the channel of the relative amplitude.

        It is ``2 * (min(1, (max - min) / amplitude_range) - 0.5)``, and 0 where
        no range is given, as in DN3, the authors' library.
        """
        span, scale = self.settings["amplitude_range"], x.new_zeros(len(x), 1, 1)
        if span is not None:
            extent = x.amax(dim=(1, 2), keepdim=True) - x.amin(dim=(1, 2), keepdim=True)
            scale = 2 * ((extent / span).clamp_max(1.0) - 0.5)
        return torch.cat([super().prepare(x, batch), scale.expand(-1, 1, x.shape[-1])], dim=1)

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Add the whole output; braindecode returns the start token only."""
        return {
            **super().states(module),
            "out": (module.get_submodule("contextualizer"), "output"),
        }

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the start token and one token per 96 samples."""
        values = self.read("out", module, x, batch).transpose(1, 2)
        return Tokens(values, *_moments(x.device, values.shape[1] - 1, summaries=1))

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence that stands before the epochs; its width is three times as large."""
        return Tokens(raw.transpose(0, 1), *_moments(x.device, len(raw) - 1, summaries=1))

    def width(self, model: nn.Module) -> int:
        """Return the width of the output."""
        return int(part(model, "contextualizer.output_layer").out_channels)


class BIOT(Recipe):
    """Linear attention over the spectra of bipolar derivations, channel by channel."""

    cls, sfreq, normalize = "BIOT", 200.0, "quantile95"
    layers = "encoder.transformer.layers.layers"
    tables = ("encoder.channel_tokens.weight",)
    own: ClassVar = {"n_derivations": 18}

    def arguments(self) -> dict[str, Any]:
        """Build for the derivations of the checkpoint."""
        return {"n_chans": self.settings["n_derivations"], "n_times": 2000}

    def states(self, module: nn.Module) -> dict[int | str, Place]:
        """Read before each attention, and after the last feed-forward network."""
        layers = list(module.get_submodule(self.layers).children())
        found: dict[int | str, Place] = {
            k: (layer.get_submodule("0"), "input") for k, layer in enumerate(layers)
        }
        found[len(layers)] = (module.get_submodule("encoder.transformer"), "output")
        return found

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return all tokens; braindecode returns their mean."""
        last = self.n_layers(module)
        return self.state(self.read(last, module, x, batch), x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence, channel by channel."""
        return Tokens(raw, *places(x.device, x.shape[1], raw.shape[1] // x.shape[1]))

    def width(self, model: nn.Module) -> int:
        """Return the width of a channel token."""
        return int(model.get_parameter("encoder.channel_tokens.weight").shape[1])


class EEGPT(Recipe):
    """Summary tokens over the electrodes of each patch (the EEGPT of 2024)."""

    cls, sfreq = "EEGPT", 256.0
    heads = ("final_layer",)
    passing = ("chans_id",)
    left_out = ("final_layer.", "chan_proj.", "chans_id", "predictor.", "reconstructor.")
    layers, top = "target_encoder.blocks", ("target_encoder.norm.",)
    tables = ("target_encoder.summary_token", "target_encoder.chan_embed.weight")

    def arguments(self) -> dict[str, Any]:
        """Build for the table of electrodes, without the projection in front."""
        return {
            "n_times": 1024, "chs_info": chs_info(EEGPT_NAMES), "chan_proj_type": "none",
        }  # fmt: skip

    def arguments_for(self, x: Tensor, batch: SignalBatch) -> tuple[Any, dict[str, Any]] | None:
        """Build again for each set of electrodes and each length."""
        rows = tuple(batch.rows.tolist())
        names = tuple(EEGPT_NAMES[row] for row in rows)
        return (rows, x.shape[-1]), {
            "n_times": x.shape[-1], "chs_info": chs_info(names), "chan_proj_type": "none",
        }  # fmt: skip

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return the summary tokens; braindecode's features have those of a patch in a row."""
        features = self.call(module, x, batch)["features"]
        width = self.width(module)
        n, n_patches, length = features.shape
        channels, times = _moments(x.device, n_patches)
        count = length // width
        return Tokens(
            features.reshape(n, n_patches * count, width),
            channels.repeat_interleave(count),
            times.repeat_interleave(count),
        )

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read electrodes and summaries of each patch, ``(n_epochs * n_patches, …)``."""
        n, n_channels = len(x), x.shape[1]
        n_patches, summaries = len(raw) // n, raw.shape[1] - n_channels
        each = torch.cat(
            [
                torch.arange(n_channels, device=x.device),
                torch.full((summaries,), -1, device=x.device),
            ]
        )
        times = torch.arange(n_patches, device=x.device)
        return Tokens(
            raw.reshape(n, n_patches * raw.shape[1], -1),
            each.repeat(n_patches),
            times.repeat_interleave(len(each)),
        )

    def width(self, model: nn.Module) -> int:
        """Return the width of a summary token."""
        return int(model.get_parameter("target_encoder.summary_token").shape[-1])


class LUNA(Recipe):
    """Learned queries gather the electrodes of each patch by their places."""

    cls, sfreq, normalize = "LUNA", 256.0, "zscore"
    layers, top, tables = "blocks", ("norm.",), ("mask_token", "cross_attn.query_embed")
    left_out = ("final_layer.", "decoder_head.", "channel_emb.", "classifier.")

    def call(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Any:
        """Run the network, whose head is the identity, with places in the head frame."""
        assert batch.positions is not None
        where = batch.positions.to(x).expand(len(x), -1, -1)
        return module(x, channel_locations=where)

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return one token per patch: all queries in a row, normed."""
        return self.state(self.call(module, x, batch), x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read one token per patch."""
        return Tokens(raw, *_moments(x.device, raw.shape[1]))

    def width(self, model: nn.Module) -> int:
        """Return the width of the final norm."""
        return int(part(model, "norm").normalized_shape[0])

    def rename(self, model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename keys as braindecode's own table for the authors' files does."""
        table: Any = model.mapping
        return {table.get(key, key): value for key, value in state.items()}


class SignalJEPA(Recipe):
    """Convolutions per electrode, then a transformer; 62 electrodes have an embedding."""

    cls, sfreq = "SignalJEPA", 128.0
    heads = ("final_layer", "transformer.decoder")
    left_out = ("final_layer.", "transformer.decoder.")
    layers, top = "transformer.encoder.layers", ("transformer.encoder.norm.",)
    tables = ("pos_encoder.pos_encoder_spat.weight",)

    def arguments(self) -> dict[str, Any]:
        """Build with the table of the pretraining electrodes."""
        return {"n_times": 2048, "channel_embedding": "pretrain_aligned"}

    def arguments_for(self, x: Tensor, batch: SignalBatch) -> tuple[Any, dict[str, Any]] | None:
        """Build again for each set of electrodes."""
        names = tuple(SIGNALJEPA_NAMES[row] for row in batch.rows.tolist())
        return names, {**self.arguments(), "chs_info": chs_info(names)}

    def link(self, module: nn.Module, model: nn.Module) -> None:
        """Make the table of times at once; made in a forward pass, threads would race."""
        n_channels = len(module.get_buffer("pos_encoder.default_ch_idxs"))
        weight = model.get_parameter("pos_encoder.pos_encoder_spat.weight")
        with torch.inference_mode(False), torch.no_grad():
            module.get_submodule("pos_encoder")(weight.new_zeros(1, n_channels * 600, 64))

    def encode(self, module: nn.Module, x: Tensor, batch: SignalBatch) -> Tokens:
        """Return what braindecode calls the features."""
        return self.state(self.call(module, x, batch)["features"], x, batch)

    def state(self, raw: Any, x: Tensor, batch: SignalBatch) -> Tokens:
        """Read a sequence, channel by channel."""
        return Tokens(raw, *places(x.device, x.shape[1], raw.shape[1] // x.shape[1]))

    def width(self, model: nn.Module) -> int:
        """Return the width of the transformer."""
        return int(part(model, "transformer.encoder.norm").normalized_shape[0])
