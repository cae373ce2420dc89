"""The golden vectors of EEGPT's task modules."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.nn.slices import EEGPT_SIZES, SliceEncoder
from eegfound.testing.golden import GoldenCase, fill_network, statistics
from eegfound_eegpt.dual.adapters import AdapterClassifier, ReadoutClassifier
from eegfound_eegpt.dual.heads import LinearProbe, SleepProbe
from eegfound_eegpt.dual.readout import PredictorReadout, ReconstructorReadout
from eegfound_eegpt.dual.recipes import ADAPTERS, PROBES

Output = dict[str, Any]
_FREQUENCIES = ("*.time_embed.freqs",)


def _of(case: GoldenCase, known: dict[str, Any]) -> str:
    """Return the data set that a case is about."""
    text = f"{case.meta.get('head', '')} {case.name}".lower()
    found = [name for name in known if name in text]
    if not found:  # neither description nor file name says it: the classes may
        n_outputs = case.meta.get("num_classes")
        found = [name for name, recipe in known.items() if recipe.n_outputs == n_outputs]
    if len(found) != 1:
        raise SpecError(f"{case.name} is about none of {sorted(known)}.")
    return found[0]


def _input(case: GoldenCase, key: str = "input_shape") -> Tensor:
    return torch.from_numpy(case.input(case.meta[key], float(case.meta.get("scale", 1.0))))


def _large(stride: int | None = None) -> SliceEncoder:
    return SliceEncoder(stride=stride, **EEGPT_SIZES["large"])


def _checked(case: GoldenCase, name: str, module: torch.nn.Module, *, without: str = "") -> None:
    """Compare a module with its manifest; ``without`` is a prefix it leaves out."""
    manifest = case.manifest(name)
    shapes = {
        key: tuple(value.shape)
        for key, value in module.state_dict().items()
        if not (without and key.startswith(without))
    }
    if manifest is not None and shapes != dict(manifest):
        wrong = sorted(set(shapes.items()) ^ set(manifest.items()))
        raise SpecError(f"{case.name}: the module differs from {name!r} at {wrong[:4]}.")


def _row_norms(weight: Tensor) -> np.ndarray:
    return weight.flatten(1).norm(dim=1).numpy()


@torch.no_grad()
def probe(case: GoldenCase) -> Output:
    """Compute a linear probe or the sleep head."""
    name = _of(case, PROBES)
    _, n_channels, n_times = case.meta["input_shape"]
    n_outputs = int(case.meta.get("num_classes", case.shapes["logits"][-1]))
    recipe = replace(PROBES[name], n_channels=n_channels, n_times=n_times, n_outputs=n_outputs)
    kind = SleepProbe if name == "sleepedf" else LinearProbe
    module = kind(_large(recipe.stride), recipe).eval()
    _checked(case, f"head_{name}", module, without="target_encoder.")
    fill_network(module, case.salt)
    adapted = module.adapt(_input(case))
    z = module.encode(adapted)
    features = module.features(z)
    return {
        "adapted_x": case.cut("adapted_x", adapted),
        "adapted_x_stat": statistics(adapted),
        "z": case.cut("z", z),
        "z_stat": statistics(z),
        "probe1": case.cut("probe1", features),
        "logits": module.classify(features).numpy(),
        "probe1_weight_after": case.cut("probe1_weight_after", module.linear_probe1.bounded()),
        "probe2_rownorm_after": _row_norms(module.linear_probe2.bounded()),
        "channels_index": np.array(recipe.picks or ()),
    }


@torch.no_grad()
def adapter(case: GoldenCase) -> Output:
    """Compute the TUAB or TUEV module."""
    name = _of(case, ADAPTERS)
    _, n_channels, n_times = case.meta["input_shape"]
    n_outputs = int(case.meta.get("num_classes", ADAPTERS[name].n_outputs))
    recipe = replace(ADAPTERS[name], n_times=n_times, n_outputs=n_outputs)
    module = AdapterClassifier(_large(), recipe, n_channels=n_channels).eval()
    _checked(case, f"head_{name}", module, without="target_encoder.")
    fill_network(module, case.salt)
    x = _input(case)
    adapted = module.adapt(x)
    return {
        "chan_conv_out": case.cut("chan_conv_out", adapted),
        "chan_conv_stat": statistics(adapted),
        "logits": module(x).numpy(),
        "head_rownorm_after": _row_norms(module.head[1].bounded()),  # type: ignore[operator]
    }


def _readout(kind: int) -> PredictorReadout | ReconstructorReadout:
    """Return the read-out network that the files call 0 or 1."""
    size = EEGPT_SIZES["large"]
    shape = {name: size[name] for name in ("width", "n_summary", "heads")}
    if kind:
        return PredictorReadout(depth=size["depths"][1], **shape)
    return ReconstructorReadout(depth=size["depths"][2], **shape)


@torch.no_grad()
def classifier(case: GoldenCase) -> Output:
    """Compute the read-out classifier in the variants that are asked for."""
    out: Output = {}
    encoder = _large().eval()
    fill_network(encoder, case.salt, prefix="target_encoder.")
    n_outputs = int(case.meta["num_classes"])
    n_channels = int(case.meta["input_shape"][1])
    length = int(case.meta.get("desired_time_len", 1024))

    def module(
        readout: PredictorReadout | ReconstructorReadout, **options: Any
    ) -> ReadoutClassifier:
        made = ReadoutClassifier(encoder, readout, n_outputs, **options).eval()
        # The two large parts have their weights already.
        large = ("target_encoder.*", "predictor.*", "reconstructor.*")
        fill_network(made, case.salt, skip=large)
        return made

    for kind, name in enumerate(("reconstructor", "predictor")):
        wanted = [key for key in case.shapes if f"_pred{kind}" in key]
        averaged = bool(kind) and "logits_interp_avg" in case.shapes
        if not (wanted or averaged):
            continue
        readout = _readout(kind).eval()
        fill_network(readout, case.salt, prefix=f"{name}.", skip=_FREQUENCIES)
        plain = module(readout, n_channels=n_channels)
        _checked(case, f"classifier_{name}", plain)
        z = plain.encode(_input(case))
        if averaged:
            other = module(readout, resample_to=length, average=True)
            out["logits_interp_avg"] = other(_input(case, "interp_input")).numpy()
        for key in wanted:
            if key.startswith("feat_"):
                out[key] = plain.pool(z).numpy()
            elif found := re.search(r"_proj(\d)_mean(\d)", key):
                readout.out_proj = found[1] == "1"
                variant = module(readout, n_channels=n_channels, use_mean=found[2] == "1")
                out[key] = variant.head(variant.pool(z)).numpy()
                readout.out_proj = False
    return out
