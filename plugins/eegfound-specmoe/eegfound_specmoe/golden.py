"""SpecMoE's golden vectors, computed again from their descriptions.

``eegfound conformance specmoe FOLDER`` calls :func:`reproduce` for every file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound.testing.golden import GoldenCase, Tolerance, fill_network, seeded, statistics
from eegfound_specmoe.batch_norm import follow
from eegfound_specmoe.decoder import Decoder
from eegfound_specmoe.encoder import Encoder
from eegfound_specmoe.head import ClassifierHead
from eegfound_specmoe.losses import ReconstructionLosses
from eegfound_specmoe.masking import Masking
from eegfound_specmoe.network import SpecMoE, rows_of
from eegfound_specmoe.objective import MaskedReconstruction
from eegfound_specmoe.spectrum import SFREQ
from eegfound_specmoe.times import PooledTimes

Output = dict[str, Any]
#: Points that are stored of a large array.
_POINTS = 4096


def TOLERANCES(case: GoldenCase) -> dict[str, Any]:
    """Say how far each array may be off: batch statistics and loud input amplify rounding."""
    bound = 1e-5
    if case.meta.get("train"):
        bound = 5e-4
    elif float(case.meta.get("scale", 1.0)) > 1:
        bound = 2e-5
    return {
        "mask[0-9]*": 1e-10,
        "xmasked*": 1e-10,
        "*_target_is_*": Tolerance(absolute=0.0, relative=1e-4),
        "grad_*": Tolerance(absolute=0.0, relative=1e-4),
        # The Euclidean norm of 100 000 numbers has a last digit of its own size.
        "*__stats": Tolerance(absolute=bound, relative=1e-6),
        "*": bound,
    }


INPUTS = ("grad_keys",)
#: Options of the masks, by their names in the cases.
_MASKING = {
    "mask_ratio": "ratio", "mask_level": "level", "mask_type_ratio": "types",
    "band_bias": "band_bias",
}  # fmt: skip
#: Entries of a fused manifest whose shapes follow classes and window length.
_VARIABLE = ("classifier.net.4.", "gate_LinearT_")


def reproduce(case: GoldenCase) -> Output:
    """Compute a golden vector of SpecMoE.

    Parameters
    ----------
    case : GoldenCase
        One SpecHi-Net, the fused network, losses or masks; ``meta`` tells.

    Returns
    -------
    dict
        Output by name.

    Raises
    ------
    SpecError
        If the case is of another kind, or a manifest names other tensors.
    """
    kinds = {"expert": _expert, "fused": _fused, "loss": _loss, "mask": _masks}
    kind = case.meta.get("kind")
    if kind not in kinds:
        raise SpecError(f"{case.name} is of kind {kind!r}, not one of {sorted(kinds)}.")
    return kinds[kind](case)


def _filled(network: nn.Module, case: GoldenCase, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Give a network the case's weights; norm gains have a rule of this model's own."""
    shapes = fill_network(network, case.salt, prefix=prefix)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(".a_2"):
                drawn = seeded(case.salt, prefix + name).standard_normal(
                    tuple(parameter.shape), dtype=np.float32
                )
                parameter.copy_(torch.from_numpy(1 + np.float32(0.1) * drawn))
    return shapes


def _check_manifest(case: GoldenCase, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare our tensors with the manifests of this kind of network."""
    fused = any(key.startswith("experts.") for key in shapes)
    for name, manifest in case.manifests.items():
        if fused != any(key.startswith("experts.") for key in manifest):
            continue
        wrong = sorted(
            key
            for key in set(shapes) | set(manifest)
            if (key not in shapes or key not in manifest)
            or (shapes[key] != manifest[key] and not key.startswith(_VARIABLE))
        )
        if wrong:
            raise SpecError(f"{case.name}: the network differs from {name} at {wrong[:4]}.")


def _stored(values: Mapping[str, Any], wanted: Iterable[str]) -> Output:
    """Return arrays, or points and statistics of those that are stored so."""
    wanted, out = set(wanted), {}
    for name, value in values.items():
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if name in wanted:
            out[name] = array
        if f"{name}__sample" in wanted:
            flat = array.reshape(-1)
            places = np.linspace(0, flat.size - 1, _POINTS).astype(np.int64)
            out[f"{name}__sample"] = flat[places]
            out[f"{name}__shape"] = np.array(array.shape)
            out[f"{name}__stats"] = statistics(array)
    return out


def _signal(case: GoldenCase, n_times: int, tag: str = "input") -> Tensor:
    meta = case.meta
    x = case.input((meta["B"], meta["C"], n_times), meta["scale"], tag)
    if meta.get("perm") is not None:
        x = np.ascontiguousarray(x[:, meta["perm"]])
    return torch.from_numpy(x)


def _objective(case: GoldenCase, n_rows: int) -> MaskedReconstruction:
    """Return one SpecHi-Net with the case's weights, without dropout."""
    heads = int(case.meta.get("heads", 8))
    network = SpecMoE(n_experts=1, heads=heads, dropout=0.0, positions="pretraining")
    decoder = Decoder(heads=heads, dropout=0.0, n_rows=n_rows)
    shapes = _filled(network.experts[0], case) | _filled(decoder, case)
    _check_manifest(case, shapes)
    return MaskedReconstruction(network, [decoder], masking=Masking())


def _prepared(objective: MaskedReconstruction, case: GoldenCase) -> tuple[Tensor, PooledTimes]:
    signal = _signal(case, case.meta["T"])
    x, _ = objective.network.prepare(signal, ())
    return x, objective.network.times(x, signal.shape[-1], torch.tensor([case.meta["bloc"]]))


@torch.no_grad()
def _expert(case: GoldenCase) -> Output:
    rows = case.shapes.get("aux_u1", (0, 19))[1]
    objective = _objective(case, rows).train(bool(case.meta.get("train")))
    x, times = _prepared(objective, case)
    encoder, decoder = objective.network.experts[0], objective.decoders[0]
    assert isinstance(encoder, Encoder)
    stages = dict(encoder.stages(x, times))
    decoded = decoder(stages, times)
    follow(objective)  # running statistics move when the step is over
    n, n_channels, _ = x.shape
    values: Output = {
        "D1_a": stages["fine"], "D1_b": stages["coarse"], "D2": stages["down2"],
        "enc1": stages["attention1"], "D3": stages["down3"], "bot1": stages["bottom1"],
        "enc2": stages["attention2"], "bot2": stages["bottom2"],
        "U1": decoded.up1, "enc3": decoded.attended, "U2": decoded.up2,
        "aux_u2": decoded.stretched2, "aux_u1": decoded.stretched1,
        "recon_a": decoded.fine, "recon_b": decoded.coarse,
        "pos1": times.fine.expand(n, -1)[:, None], "pos2": times.coarse.expand(n, -1)[:, None],
    }  # fmt: skip
    for how in ("mean", "max"):
        values[f"pooled_{how}"] = rows_of(stages["bottom2"], n_channels, how)
    for part in (encoder, decoder):
        for name, buffer in part.named_buffers():
            for last, short in (("running_mean", "rm"), ("running_var", "rv")):
                if name.endswith(f".{last}"):
                    key = (
                        name if f"{short}__{name}" in case.shapes else name.removesuffix(f".{last}")
                    )
                    values[f"{short}__{key}"] = buffer
    return _stored(values, case.shapes)


@torch.no_grad()
def _fused(case: GoldenCase) -> Output:
    meta = case.meta
    if meta["fs"] != SFREQ:
        raise SpecError(f"{case.name}: the gates are made for {SFREQ} Hz, not {meta['fs']}.")
    signal = _signal(case, meta["secs"] * meta["fs"])
    network = SpecMoE(
        pooling="fused", heads=int(meta.get("heads", 8)), time_pool=meta["L_pool"],
        channel_pool=meta["C_pool"], psd_seconds=1 if meta["secs"] == 1 else 2,
    ).eval()  # fmt: skip
    head = ClassifierHead(network.width, meta["K"]).eval()
    shapes = _filled(network, case) | _filled(head, case, prefix="classifier.")
    _check_manifest(case, shapes)
    n_times = signal.shape[-1]
    x, _ = network.prepare(signal, ())
    times = network.times(x, n_times)
    outputs = [expert(x, times) for expert in network.experts]
    psd = network.spectrum(x, n_times)
    rows = network.gated_rows(outputs, x, n_times)
    fused = rows.mean(dim=1) if meta["C_pool"] == "mean" else rows.amax(dim=1)
    values: Output = {"psd": psd, "fused": fused, "logits": head(fused)}
    for i, (output, gate) in enumerate(zip(outputs, network.gates(psd)), start=1):
        values |= {
            f"enc{i}": output,
            f"pooled{i}": rows_of(output, x.shape[1], meta["L_pool"]),
            f"gate{i}": gate,
        }
    return _stored(values, case.shapes)


def _loss(case: GoldenCase) -> Output:
    objective = _objective(case, case.meta["C"]).eval()
    masked = _signal(case, case.meta["T"])
    segments = torch.tensor([case.meta["bloc"]])
    out: Output = {}
    targets = {
        "code_target_is_input": masked,
        "paper_target_is_clean": _signal(case, case.meta["T"], "target"),
    }
    for name, target in targets.items():
        losses = objective.compare(masked, target, segments=segments)
        out[name] = _listed(losses)
    losses.total.backward()
    gradients = {
        name: parameter.grad.double().norm().item()
        for part in (objective.network.experts[0], objective.decoders[0])
        for name, parameter in part.named_parameters()
        if parameter.grad is not None
    }
    keys = [str(key) for key in case.inputs.get("grad_keys", ())]
    out["grad_l2"] = np.array([gradients[key] for key in keys])
    out["grad_total_l2"] = np.sqrt(np.square(list(gradients.values())).sum())
    return out


def _listed(losses: ReconstructionLosses) -> np.ndarray:
    parts = (losses.total, losses.squared, losses.spectral, losses.stretched2, losses.stretched1)
    return np.array([part.item() for part in parts])


def _masks(case: GoldenCase) -> Output:
    values: Output = {}
    for j in range(case.meta["n"]):
        options = json.loads(case.meta[f"case{j}"])
        unknown = set(options) - set(_MASKING) - {"C", "T", "seed", "index"}
        if unknown:
            raise SpecError(f"{case.name}: masks have no option {sorted(unknown)}.")
        masking = Masking(**{_MASKING[key]: options[key] for key in _MASKING if key in options})
        seed = (options["seed"] + 100 * options["index"]) % 2**32
        mask = masking.draw(options["T"], np.random.RandomState(seed))
        x = case.input((options["C"], options["T"]), case.meta["scale"], f"mask{j}")
        signal = torch.from_numpy(x.astype(np.float64))[None]
        values[f"mask{j}"] = mask
        values[f"xmasked{j}"] = masking.apply(signal, torch.from_numpy(mask)[None])[0]
    return _stored(values, case.shapes)
