"""LaBraM's golden vectors, computed again from their descriptions.

``eegfound conformance labram FOLDER`` calls :func:`reproduce` for every file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn.codebook import code_margin, cosine_kmeans, unit
from eegfound.testing.golden import GoldenCase, fill_network, seeded, statistics
from eegfound_labram.golden_config import (
    encoder_options,
    masked_options,
    text_of,
    tokenizer_options,
)
from eegfound_labram.network import LaBraM
from eegfound_labram.objective import MaskedEEGModel, mask_from_noise
from eegfound_labram.quantizer import CodebookQuantizer
from eegfound_labram.schedule import cosine_schedule, parameter_settings
from eegfound_labram.tokenizer import VQNSP, spectral_targets
from eegfound_labram.vocabulary import VOCABULARY

Output = dict[str, Any]
#: Rates are around 1e-4, so 1e-5 would say nothing about them.
TOLERANCES = {"lr_schedule*:values": 1e-12, "param_groups*:params": 1e-12}
_ALWAYS = ("noise", "z[0-9]*", "cot[0-9]*", "km_samples", "km_init_idx", "args", "note")


def INPUTS(name: str, shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which stored values are inputs: masks too, where no noise makes them."""
    return _ALWAYS if "noise" in shapes else (*_ALWAYS, "mask")


def reproduce(case: GoldenCase) -> Output:
    """Compute a golden vector of LaBraM.

    Parameters
    ----------
    case : GoldenCase
        Encoder, tokenizer, quantizer, masked modelling, learning rates or
        parameter groups; told apart by what is asked for.

    Returns
    -------
    dict
        Output by name.
    """
    wanted = set(case.shapes)
    if "codebook0" in wanted:
        return _quantizer(case)
    if wanted & {"mask", "logits_sym", "tokens_masked"} or "mask" in case.inputs:
        return _masked(case)
    if wanted & {"code_margin", "pre_quant", "quantized"}:
        return _tokenizer(case)
    if wanted & {"tokens", "pooled", "patch_tokens_stats"}:
        return _encoder(case)
    if "values" in wanted:
        return _learning_rates(case)
    if "params" in wanted:
        return _parameter_groups(case)
    raise SpecError(f"{case.name} asks for {sorted(wanted)}, which LaBraM does not compute.")


def _batch(case: GoldenCase) -> tuple[SignalBatch, Output]:
    """Return the input and what the file stores about it."""
    n, n_channels, n_patches, patch = case.meta["shape"]
    scale = float(case.meta.get("input_scale", case.meta.get("scale", 0.5)))
    x = case.input((n, n_channels, n_patches, patch), scale)
    rows = _rows(case.meta.get("channels"), n_channels)
    if len(rows) != n_channels:
        raise SpecError(f"{case.name}: {len(rows)} channels are named for {n_channels} of them.")
    signal = torch.from_numpy(x).reshape(n, n_channels, n_patches * patch)
    stored = {"input_head": x.ravel()[:8], "input_chans": np.array([0, *(r + 1 for r in rows)])}
    return SignalBatch(signal, torch.tensor(rows)), stored


def _rows(channels: list[str] | None, n_channels: int) -> list[int]:
    if channels is None:  # no list: the whole table, in its order
        if n_channels != len(VOCABULARY):
            raise SpecError(f"Without channel names {len(VOCABULARY)} channels are needed.")
        return list(range(n_channels))
    places = {name.upper(): i for i, name in enumerate(VOCABULARY)}
    unknown = [name for name in channels if name.upper() not in places]
    if unknown:
        raise SpecError(f"LaBraM has no electrode {unknown}.")
    return [places[name.upper()] for name in channels]


def _filled(network: nn.Module, case: GoldenCase, manifest: Mapping[str, Any] | None) -> None:
    """Give a network the case's weights, if it has the tensors of the manifest."""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if manifest is not None and shapes != dict(manifest):
        wrong = sorted(set(shapes.items()) ^ set(manifest.items()))
        raise SpecError(f"{case.name}: the network differs from its manifest at {wrong[:4]}.")
    fill_network(network, case.salt)
    network.eval()


@torch.no_grad()
def _encoder(case: GoldenCase) -> Output:
    batch, out = _batch(case)
    network = LaBraM(**encoder_options(case))
    _filled(network, case, case.manifest())
    scale = case.meta.get("qkv_weight_scale")
    if scale is not None:
        for name, parameter in network.named_parameters():
            if name.endswith("attn.qkv.weight"):
                parameter.mul_(scale)
    embedded = network.embed(batch.signal)
    tokens = network(batch).values
    if network.fc_norm is None:
        pooled = tokens[:, 0]
    else:
        pooled = network.finish_pooling(tokens[:, 1:].mean(dim=1))
        tokens = network.fc_norm(tokens)
    return out | {
        "patch_embed_slice": case.cut("patch_embed_slice", embedded[0]),
        "patch_embed_stats": statistics(embedded),
        "tokens": case.cut("tokens", tokens),
        "tokens_stats": statistics(tokens),
        "patch_tokens_stats": statistics(tokens[:, 1:]),
        "pooled": pooled.numpy(),
        "logits": network.head(pooled).numpy(),
    }


def _filled_tokenizer(case: GoldenCase, manifest: Mapping[str, Any] | None) -> VQNSP:
    network = VQNSP(**tokenizer_options(case))
    _filled(network, case, manifest)
    with torch.no_grad():
        book = network.quantize.embedding
        book.weight.copy_(unit(book.weight))
        book.embed_avg.copy_(book.weight)
        book.cluster_size.zero_()
        book.initted.fill_(1)
        network.quantize.cluster_size.zero_()
    return network


@torch.no_grad()
def _tokenizer(case: GoldenCase) -> Output:
    batch, out = _batch(case)
    network = _filled_tokenizer(case, case.manifest())
    features = network.features(batch)
    projected = network.project(features)
    quantized = network.encode(batch)
    margin = code_margin(unit(projected).flatten(0, 1), network.quantize.embedding.weight)
    out |= {
        "encoder_tokens": case.cut("encoder_tokens", features),
        "encoder_tokens_stats": statistics(features),
        "pre_quant": case.cut("pre_quant", projected),
        "codes": quantized.codes.numpy(),
        "code_margin": margin.view_as(quantized.codes).numpy(),
        "quantized": case.cut("quantized", quantized.vectors),
        "quant_loss": quantized.loss.numpy(),
    }
    if not set(case.shapes) - set(out):
        return out  # encoding only: what a single patch allows
    amplitude, phase = network.decode(quantized.vectors, batch.rows)
    target_amplitude, target_phase = spectral_targets(batch.signal)
    losses = network(batch)
    for name, value in {
        "rec": amplitude,
        "rec_angle": phase,
        "target_amp": target_amplitude,
        "target_angle": target_phase,
    }.items():
        out |= {name: case.cut(name, value), f"{name}_stats": statistics(value)}
    return out | {
        "loss_total": losses.total.numpy(),
        "loss_rec": losses.amplitude.numpy(),
        "loss_angle": losses.phase.numpy(),
        "loss_quant": losses.commitment.numpy(),
    }


def _mask(case: GoldenCase) -> Tensor:
    if "mask" in case.inputs:
        return torch.from_numpy(np.asarray(case.inputs["mask"], dtype=bool))
    noise = case.inputs.get("noise")
    if noise is None:
        n, n_channels, n_patches = case.meta["shape"][:3]
        noise = seeded(case.salt, "mask").random((n, n_channels * n_patches), dtype=np.float32)
    return mask_from_noise(torch.from_numpy(np.asarray(noise)))


def _masked(case: GoldenCase) -> Output:
    batch, out = _batch(case)
    named = re.search(r"tokenizer (vq_\w+)", text_of(case))
    codes = _filled_tokenizer(case, case.manifest(named[1]) if named else None).codes(batch)
    mask = _mask(case)
    network = MaskedEEGModel(**masked_options(case))
    _filled(network, case, case.manifest())
    losses = network(batch, codes, mask)
    losses.total.backward()
    with torch.no_grad():
        tokens = {
            "tokens_masked": network.tokens(batch, mask),
            "tokens_unmasked": network.tokens(batch),
        }
    for name, value in tokens.items():
        out |= {name: case.cut(name, value), f"{name}_stats": statistics(value)}
    for name, logits in (("logits", losses.logits), ("logits_sym", losses.complement_logits)):
        logits = logits.detach()
        out |= {
            name: case.cut(name, logits),
            f"{name}_lse": logits.logsumexp(dim=1).numpy(),
            f"{name}_argmax": logits.argmax(dim=1).numpy(),
        }
    student = network.student
    return out | {
        "mask": mask.numpy(),
        "codes": codes.numpy(),
        "loss": losses.masked.detach().numpy(),
        "loss_sym": losses.complement.detach().numpy(),
        "loss_total": losses.total.detach().numpy(),
        "grad_mask_token": _gradient(student.mask_token),
        "grad_cls_token": _gradient(student.cls_token),
        "grad_pos_rows": _gradient(student.pos_embed)[:, out["input_chans"]],
        "grad_time_rows": _gradient(student.time_embed)[:, : case.meta["shape"][2]],
        "unused_grad": [k for k, p in network.named_parameters() if p.grad is None],
    }


def _gradient(parameter: Tensor) -> np.ndarray:
    assert parameter.grad is not None
    return parameter.grad.numpy()


def _quantizer(case: GoldenCase) -> Output:
    shape = case.shapes["codebook0"]
    decay = re.search(r"decay (\d*\.\d+)", text_of(case))
    quantizer = CodebookQuantizer(*shape, decay=float(decay[1]) if decay else 0.99)
    book = unit(torch.from_numpy(case.fill("quantizer.codebook", shape)))
    with torch.no_grad():
        quantizer.embedding.weight.copy_(book)
        quantizer.embedding.initted.fill_(1)
    out: Output = {"codebook0": book.numpy()}
    quantizer.train()
    steps = sorted(int(name[1:]) for name in case.inputs if re.fullmatch(r"z\d+", name))
    for step in steps:
        z = torch.from_numpy(case.inputs[f"z{step}"].copy()).requires_grad_()
        quantized = quantizer(z)
        loss: Tensor = quantized.loss
        if f"cot{step}" in case.inputs:
            loss = loss + (quantized.vectors * torch.from_numpy(case.inputs[f"cot{step}"])).sum()
        loss.backward()
        out |= {
            f"zq{step}": quantized.vectors.detach().numpy(),
            f"loss{step}": quantized.loss.detach().numpy(),
            f"codes{step}": quantized.codes.numpy().reshape(case.shapes[f"codes{step}"]),
            f"grad{step}": _gradient(z),
            f"codebook_after{step}": quantizer.embedding.weight.numpy().copy(),
            f"cluster_size_after{step}": quantizer.cluster_size.numpy().copy(),
        }
    if "km_samples" in case.inputs:
        initial = torch.from_numpy(case.inputs["km_init_idx"])
        rounds = re.search(r"(\d+) iterations", text_of(case))
        centers, counts = cosine_kmeans(
            torch.from_numpy(case.inputs["km_samples"]),
            len(initial),
            n_iter=int(rounds[1]) if rounds else 10,
            initial=initial,
        )
        out |= {"km_means": centers.numpy(), "km_bins": counts.numpy()}
    return out


def _learning_rates(case: GoldenCase) -> Output:
    ours = {"base": "peak", "niter": "steps_per_epoch"}
    given = {ours.get(name, name): value for name, value in case.inputs["args"].items()}
    return {"values": cosine_schedule(**given).tolist()}


def _parameter_groups(case: GoldenCase) -> Output:
    text = text_of(case)
    decays = {
        name: float(found[1])
        for name in ("layer_decay", "weight_decay")
        if (found := re.search(rf"{name} (\d*\.?\d+)", text))
    }
    network = LaBraM(**encoder_options(case))
    return {"params": parameter_settings(network, **decays)}
