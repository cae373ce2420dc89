"""DARE-EEG's golden vectors, computed again from their descriptions.

``eegfound conformance dare FOLDER`` calls :func:`reproduce` for every file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.nn.slices import DARE_SIZES, VOCABULARY, SliceEncoder, SliceMasks
from eegfound.testing.golden import GoldenCase, Tolerance, fill_network, statistics
from eegfound_dare.golden_parts import (
    adapters_and_heads,
    alignments,
    linear_probe,
    tuh_model,
)
from eegfound_dare.network import DARE
from eegfound_dare.objective import ABLATIONS, DARELosses, DARENetworks, DAREObjective

Output = dict[str, Any]
INPUTS = ("mask_x", "mask_y", "mask_x2")
#: The Euclidean norm in a summary grows with the number of entries: beside the
#: files' 1e-5 it may be off by about one rounding of float32 (6e-8).
TOLERANCES = {"*_stat": Tolerance(absolute=1e-5, relative=1e-7)}
#: Left as constructed by the rule of the goldens.
SKIPPED = ("*.time_embed.freqs", "loss_mc.temperature")


def reproduce(case: GoldenCase) -> Output:
    """Compute a golden vector of DARE-EEG.

    Parameters
    ----------
    case : GoldenCase
        Encoder, pretraining, gradients, probing modules, adapters and heads,
        or alignment; told apart by what is asked for.

    Returns
    -------
    dict
        Output by name.
    """
    wanted = set(case.shapes)
    if "grad_l2" in wanted:
        return _gradients(case)
    if "mask_x" in case.inputs:
        return _pretraining(case)
    if "conv_out" in wanted:
        return tuh_model(case)
    if "adapted_x" in wanted:
        return linear_probe(case)
    if wanted & {"ea", "stable", "stable_ref", "trace"}:
        return alignments(case)
    if "adapter_input" in case.meta or "head_input" in case.meta:
        return adapters_and_heads(case)
    if wanted & {"z", "z_stat", "pooled_mean"}:
        return _encoder(case)
    raise SpecError(f"{case.name} asks for {sorted(wanted)}, which DARE-EEG does not compute.")


def config_of(case: GoldenCase, default: str | None = None) -> dict[str, Any]:
    """Return the size of a case: written out, or by its name."""
    if "cfg" in case.meta:
        width, n_summary, depths, heads = case.meta["cfg"]
        return {"width": width, "n_summary": n_summary, "depths": tuple(depths), "heads": heads}
    tag = str(case.meta.get("tag", case.meta.get("encoder", default)))
    if tag not in DARE_SIZES:
        raise SpecError(f"{case.name} names the size {tag!r}; sizes are {list(DARE_SIZES)}.")
    return dict(DARE_SIZES[tag])


def check_manifest(case: GoldenCase, name: str, network: nn.Module, *, prefix: str = "") -> None:
    """Compare a network's tensors with the part of a manifest under ``prefix``.

    Raises
    ------
    SpecError
        If names or shapes differ.
    """
    manifest: Mapping[str, Any] | None = case.manifest(name)
    if manifest is None:
        return
    ours = {prefix + key: tuple(value.shape) for key, value in network.state_dict().items()}
    theirs = {key: shape for key, shape in manifest.items() if key.startswith(prefix)}
    if ours != theirs:
        wrong = sorted(set(ours.items()) ^ set(theirs.items()))
        raise SpecError(f"{case.name}: the network differs from {name!r} at {wrong[:4]}.")


def _ids(case: GoldenCase) -> tuple[Tensor | None, np.ndarray]:
    """Return the rows of the channels, None where the case gives no names."""
    chans = case.meta["chans"]
    if isinstance(chans, int):
        return None, np.arange(chans)
    rows = []
    for name in chans:
        known = name.strip(".").upper()
        if known not in VOCABULARY:
            raise SpecError(f"{case.name}: DARE-EEG has no electrode {name!r}.")
        rows.append(VOCABULARY.index(known))
    return torch.tensor(rows), np.array([rows])


def _signal(case: GoldenCase, n_channels: int) -> Tensor:
    shape = (int(case.meta["B"]), n_channels, int(case.meta["T"]))
    return torch.from_numpy(case.input(shape, float(case.meta.get("scale", 1.0))))


@torch.no_grad()
def _encoder(case: GoldenCase) -> Output:
    ids, stored = _ids(case)
    network: SliceEncoder = DARE(stride=case.meta.get("patch_stride"), **config_of(case)).eval()
    check_manifest(
        case, f"checkpoint_{case.meta.get('tag')}", _Under("target_encoder", network),
        prefix="target_encoder.",
    )  # fmt: skip
    fill_network(network, case.salt, prefix="target_encoder.")
    z = network.encode(_signal(case, stored.size), ids)
    return {
        "chan_ids": stored,
        "z": case.cut("z", z),
        "z_stat": statistics(z),
        "pooled_mean": case.cut("pooled_mean", z.flatten(2).mean(dim=1)),
    }


class _Under(nn.Module):
    """A network under the name it has in a file."""

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.add_module(name, network)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        whole = super().state_dict(*args, **kwargs)
        return {key.partition(".")[2]: value for key, value in whole.items()}


def _objective(
    case: GoldenCase, **options: Any
) -> tuple[DAREObjective, Tensor, Tensor | None, SliceMasks, Tensor]:
    ids, stored = _ids(case)
    networks = DARENetworks(**config_of(case)).eval()
    check_manifest(case, f"checkpoint_{case.meta.get('tag')}", networks)
    fill_network(networks, case.salt, skip=SKIPPED)
    visible, hidden, second = (
        torch.from_numpy(np.asarray(case.inputs[name], dtype=np.int64)) for name in INPUTS
    )
    objective = DAREObjective(networks, **options)
    return objective, _signal(case, stored.size), ids, SliceMasks(visible, hidden), second


@torch.no_grad()
def _pretraining(case: GoldenCase) -> Output:
    objective, x, ids, masks, second = _objective(case)
    losses = objective.losses(x, ids, masks, second)
    out = _described(case, objective, losses)
    for number, options in ABLATIONS.items():
        if f"total_case{number}" in case.shapes:
            ablated = DAREObjective(objective.networks, **options)
            out[f"total_case{number}"] = ablated.losses(x, ids, masks, second).total.numpy()
    return out


def _described(case: GoldenCase, objective: DAREObjective, losses: DARELosses) -> Output:
    contrast, made = objective.networks.loss_mc, losses.prediction
    pooled = [contrast.pool(z) for z in (made.visible, losses.second)]
    projected = [contrast.project(p) for p in pooled]
    out: Output = {
        "loss_anchor": losses.anchor.numpy(),
        "loss_rec": losses.reconstruction.numpy(),
        "loss_mask": losses.mask.numpy(),
        "act_reg": losses.activation.numpy(),
        "loss_total": losses.total.numpy(),
        "sim": (projected[0] @ projected[1].T / contrast.temperature).numpy(),
    }
    for number in (1, 2):
        out[f"pool{number}"] = case.cut(f"pool{number}", pooled[number - 1])
        out[f"proj{number}"] = case.cut(f"proj{number}", projected[number - 1])
    for name, value in {
        "z1": made.visible,
        "z2": losses.second,
        "z_pred": made.predicted,
        "comb": made.combined,
        "h": made.features,
        "rec": made.rebuilt,
        "target_patch": made.patches,
    }.items():
        out |= {name: case.cut(name, value), f"{name}_stat": statistics(value)}
    return out


def _gradients(case: GoldenCase) -> Output:
    if "mask_x" not in case.inputs or "T" not in case.meta:
        raise SpecError(
            f"{case.name} needs the description and the masks of {case.meta.get('from_file')!r}."
        )
    objective, x, ids, masks, second = _objective(case)
    losses = objective.losses(x, ids, masks, second)
    losses.total.backward()
    gradients = {name: p.grad for name, p in objective.networks.named_parameters()}
    trained = {name: g for name, g in gradients.items() if g is not None}
    buffers = ("loss_mc.temperature",)  # the frequencies are frozen parameters in the reference
    rest = [n for n in objective.networks.state_dict() if n not in trained and n not in buffers]
    return {
        "loss": losses.total.detach().numpy(),
        "names": np.array(list(trained)),
        "grad_l2": np.array([float(g.double().norm()) for g in trained.values()]),
        "no_grad": np.array(rest),
    }
