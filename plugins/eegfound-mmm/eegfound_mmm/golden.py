"""MMM's golden vectors, computed again from their descriptions.

``eegfound conformance mmm FOLDER`` calls :func:`reproduce` for every file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from eegfound.base import CheckpointNotFoundError, SpecError
from eegfound.features import band_energy, differential_entropy
from eegfound.models import get_model
from eegfound.models.loading import load_encoder
from eegfound.testing.golden import GoldenCase, GoldenSkippedError, Tolerance, seeded
from eegfound_mmm.golden_networks import FineTuned, filled_model, filled_objective, rows_of
from eegfound_mmm.positions import position_table
from eegfound_mmm.seed import CLIP_WINDOWS, REORDER, split_recording
from eegfound_mmm.topology import (
    N_ELECTRODES,
    N_REGIONS,
    REGION_OF,
    VOCABULARY,
    allowed_pairs,
    degrees,
    millimetres,
    ranks,
)

Output = dict[str, Any]
#: Norms of gradients are compared where they are no rounding noise; energies
#: reach a million.
TOLERANCES = {
    "grad_l2": Tolerance(1e-5, relative=1e-4, above=1e-4),
    "c[0-9]*_power": Tolerance(1e-5, relative=1e-9),
}
_GIVEN = (
    "channels", "*_channels", "labels", "mask", "ratio", "index_train", "index_valid",
    "c[0-9]*_fs", "c[0-9]*_win", "c[0-9]*_shape",
)  # fmt: skip
#: Outputs with one entry per window, for a case that stores no input.
_BY_WINDOW = (
    "tokens_out", "feature", "probs", "tokens_in", "block0_out", "region_mean", "fc1_out",
    "fc2_out", "bn1_out", "bn2_out", "probs_eval", "probs_train", "latent", "reconstruction",
    "channel_mask",
)  # fmt: skip


def INPUTS(name: str, shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which stored values are inputs; of the topology none is."""
    if "rank_coord" in shapes or "coord_mm" in shapes:
        return ()
    published = ("supernodes",) * any(name.endswith("_head_zero_supernodes") for name in shapes)
    masks = () if "mask" in shapes else ("channel_mask",)
    return (*_GIVEN, *published, *masks)


def reproduce(case: GoldenCase) -> Output:
    """Compute a golden vector of MMM.

    Parameters
    ----------
    case : GoldenCase
        Topology, SEED loader, differential entropy, published weights,
        pretraining, training step or forward pass; told apart by what is
        asked for.

    Returns
    -------
    dict
        Output by name.
    """
    wanted = set(case.shapes)
    if wanted & {"rank_coord", "coord_mm", "seed_reorder"}:
        return _topology(case)
    if wanted & {"gaussian_train", "minmax_train"}:
        return _seed(case)
    if any(name.endswith("_de_log") for name in wanted):
        return _entropy(case)
    if any(name.endswith("_head_zero_supernodes") for name in wanted):
        return _published(case)
    if wanted & {"latent", "reconstruction", "loss_all"}:
        return _pretraining(case)
    if wanted & {"loss_train", "probs_train", "grad_l2"}:
        return _training(case)
    if wanted & {"tokens_out", "probs", "feature"}:
        return _forward(case)
    raise SpecError(f"{case.name} asks for {sorted(wanted)}, which MMM does not compute.")


def _topology(case: GoldenCase) -> Output:
    out: Output = {
        "channels": np.array(VOCABULARY),
        "region_of_channel": REGION_OF,
        "coord_mm": millimetres().T,
        "rank_coord": ranks().T,
        "sph_deg": degrees().T,
        "attn_mask_global": ~allowed_pairs("global"),
        "attn_mask_local": ~allowed_pairs("local"),
        "seed_reorder": REORDER,
    }
    for name in case.shapes:
        if found := re.fullmatch(r"pe_(\w+?)_(\d+)", name):
            out[name] = position_table(found[1], int(found[2]))
    return out


def _seed(case: GoldenCase) -> Output:
    shape = (N_ELECTRODES, sum(CLIP_WINDOWS), 5)
    raw = seeded(case.salt, "seed_de").standard_normal(shape) * 3 + [26, 23, 22, 20, 19]
    out: Output = {}
    for kind in ("gaussian", "minmax"):
        split = split_recording(raw, kind)
        for part, X, y in (
            ("train", split.X_train, split.y_train), ("valid", split.X_test, split.y_test)
        ):  # fmt: skip
            index = case.inputs[f"index_{part}"]
            out |= {f"{kind}_{part}": X[index], f"label_{part}": y[index], f"len_{part}": len(X)}
    return out


def _entropy(case: GoldenCase) -> Output:
    out: Output = {}
    for number in sorted({name.split("_")[0][1:] for name in case.inputs}):
        tag = f"c{number}"
        shape = tuple(int(n) for n in case.inputs[f"{tag}_shape"])
        sfreq, seconds = float(case.inputs[f"{tag}_fs"]), float(case.inputs[f"{tag}_win"])
        noise = case.input(shape, 20.0, tag=f"de_input_{number}")
        signal = noise + np.float32(0.1) * np.cumsum(noise, axis=-1, dtype=np.float32)
        out[f"{tag}_input"] = case.cut(f"{tag}_input", signal)
        wide = signal.astype(np.float64)
        for name, compute, bands in (
            ("de_log", differential_entropy, "seed"), ("power", band_energy, "seed"),
            ("de_log_mainbands", differential_entropy, "seed_shared"),
        ):  # fmt: skip
            features = compute(wide, sfreq, bands, window_seconds=seconds)
            out[f"{tag}_{name}"] = features.transpose(1, 0, 2)
    return out


def _published(case: GoldenCase) -> Output:
    model = get_model("mmm")
    try:
        plain = load_encoder(model, checkpoint="mmm-tuh-base")
    except CheckpointNotFoundError as error:
        raise GoldenSkippedError(str(error)) from error
    stored = case.inputs.get("supernodes")
    tokens = case.fill("supernodes", (1, N_REGIONS, 5)) if stored is None else stored
    drawn = load_encoder(
        model, checkpoint="mmm-tuh-base", config={"region_tokens": np.asarray(tokens).tolist()}
    )
    digest = case.meta.get("sha256")
    if plain.file is None or digest not in (None, plain.file.sha256):
        raise GoldenSkippedError(f"the published weights here are not those of sha256 {digest}")
    out: Output = {"supernodes": tokens}
    for name in case.shapes:
        montage, _, what = name.partition("_")
        if what == "input":
            x, rows = _input(case, f"{montage}_")
            out[name] = x.numpy()
            for suffix, loaded in (("head", drawn), ("head_zero_supernodes", plain)):
                with torch.inference_mode():
                    read = loaded.network.encode(x, rows)[:, -N_REGIONS - 1 :]  # type: ignore[operator]
                out[f"{montage}_{suffix}"] = read.numpy()
    return out


def _input(case: GoldenCase, prefix: str = "") -> tuple[Tensor, Tensor]:
    """Return features and electrodes of a case."""
    names = case.inputs.get(f"{prefix}channels", case.meta.get("channels", VOCABULARY))
    rows = rows_of(names)
    shape = case.shapes.get(f"{prefix}input") or (_n_windows(case, prefix), len(rows), 5)
    if shape[1] != len(rows):
        raise SpecError(f"{case.name}: {len(rows)} channels are named for {shape[1]} of them.")
    x = case.input(shape, float(case.meta.get("input_scale", 1.0)))
    return torch.from_numpy(x), rows


def _n_windows(case: GoldenCase, prefix: str) -> int:
    """Return the number of windows of a case that stores no input."""
    known = {name: np.shape(value) for name, value in case.inputs.items()} | dict(case.shapes)
    names = ("labels", "mask", *(f"{prefix}{name}" for name in _BY_WINDOW))
    found = [known[name][0] for name in names if name in known]
    if not found:
        raise SpecError(f"{case.name} stores nothing that tells its number of windows.")
    return int(found[0])


def _hidden(case: GoldenCase, rows: Tensor) -> Tensor | None:
    """Return which electrodes are hidden: stored per electrode, or per region."""
    stored = case.inputs.get("mask", case.inputs.get("channel_mask"))
    if stored is None:
        return None
    hidden = torch.from_numpy(np.asarray(stored).astype(bool))
    per_region = hidden.shape[1] != len(rows) or "regional" in case.name
    if "mask" in case.inputs and per_region and hidden.shape[1] == N_REGIONS:
        return hidden[:, torch.from_numpy(REGION_OF)[rows]]
    return hidden


@torch.no_grad()
def _forward(case: GoldenCase) -> Output:
    x, rows = _input(case)
    model = filled_model(case)
    hidden = _hidden(case, rows)
    out: Output = {"input": x.numpy()}
    if hidden is not None:
        out["channel_mask"] = hidden.numpy().astype(np.int64)
        x = x.masked_fill(hidden[..., None], 0.0)
    encoder = model.encoder
    tokens = encoder.encode(x, rows)
    feature = tokens[:, -N_REGIONS - 1 :].flatten(1)
    steps = model.head.steps(feature)
    network = encoder.network
    values = {
        "tokens_in": encoder.encode(x, rows, 0),
        "block0_out": encoder.encode(x, rows, 1),
        "tokens_out": tokens,
        "feature": feature,
        "region_mean": tokens[:, -N_REGIONS - 1 : -1].mean(dim=1),
        "bn1_out": steps["fc_norm1"],
        "fc1_out": steps["fc_out1"],
        "bn2_out": steps["fc_norm2"],
        "fc2_out": steps["fc_out2"],
        "probs": steps["scores"],
        "pos_embed": network.pos_embed[network.places(rows)],
        "attn_mask": ~network.allowed_among(rows),
    }
    return out | {name: value.numpy() for name, value in values.items()}


def _training(case: GoldenCase) -> Output:
    x, rows = _input(case)
    model = filled_model(case)
    labels = torch.from_numpy(np.asarray(case.inputs["labels"], dtype=np.int64))
    with torch.no_grad():
        judged = _probabilities(model, x, rows)
        out: Output = {
            "input": x.numpy(),
            "probs_eval": judged.numpy(),
            "loss_eval": cross_entropy(judged, labels).numpy(),
        }
    model.head.train()
    learned = _probabilities(model, x, rows)
    loss = cross_entropy(learned, labels)
    loss.backward()
    places = model.encoder.network.places(rows)
    positions = model.encoder.network.pos_embed.grad
    tokens = model.encoder.supernodes.grad
    assert positions is not None
    assert tokens is not None
    first, second = model.head.fc_norm1, model.head.fc_norm2
    return out | _gradients(model.named_parameters()) | {
        "probs_train": learned.detach().numpy(),
        "loss_train": loss.detach().numpy(),
        "grad_pos_embed": positions[places].numpy(),
        "grad_supernodes": tokens.numpy(),
        **{f"running_mean{i}": _state(norm.running_mean) for i, norm in ((1, first), (2, second))},
        **{f"running_var{i}": _state(norm.running_var) for i, norm in ((1, first), (2, second))},
    }  # fmt: skip


def _probabilities(model: FineTuned, x: Tensor, rows: Tensor) -> Tensor:
    return model.head(model.encoder.encode(x, rows)[:, -N_REGIONS - 1 :].flatten(1))


def _state(value: Tensor | None) -> np.ndarray:
    assert value is not None
    return value.numpy()


def _gradients(named: Any) -> Output:
    norms, without = {}, []
    for name, parameter in named:
        if parameter.grad is None:
            without.append(name)
        else:
            norms[name] = float(parameter.grad.double().norm())
    return {
        "grad_names": np.array(list(norms)),
        "grad_l2": np.array(list(norms.values())),
        "no_grad_names": np.array(without),
    }


def _pretraining(case: GoldenCase) -> Output:
    x, rows = _input(case)
    composite = filled_objective(case)
    objective = composite.objective
    hidden = _hidden(case, rows)
    if hidden is None:
        raise SpecError(f"{case.name} stores no mask: nothing says what is hidden.")
    latent, decoded, reconstruction = objective.reconstruct(x, rows, hidden)
    error = (reconstruction - x).square()
    everywhere = error.mean()
    everywhere.backward()
    out = {
        "latent": latent,
        "decoder_tokens": decoded,
        "reconstruction": reconstruction,
        "loss_all": everywhere,
        "loss_masked": error[hidden].mean(),
    }
    return {
        "input": x.numpy(),
        "channel_mask": hidden.numpy().astype(np.int64),
        **{name: value.detach().numpy() for name, value in out.items()},
        **_gradients(composite.named_parameters()),
    }
