"""Golden vectors of autoregressive EEGPT, computed again from their descriptions.

``eegfound conformance eegpt-ar FOLDER`` calls :func:`reproduce` for every file.
They were computed in float64, and so is everything here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eegfound.base import SpecError
from eegfound.testing.golden import GoldenCase, fill_network, statistics
from eegfound_eegpt.ar.declaration import MODEL
from eegfound_eegpt.ar.graph import pool_nodes
from eegfound_eegpt.ar.network import EEGPTAR
from eegfound_eegpt.ar.objective import NextSignalObjective
from eegfound_eegpt.ar.vocabulary import HOP, TOKEN, electrode_rows

#: Arrays with more entries than this are stored as every n-th entry.
STORED = 6000
_DEMO_TASKS = {"mi": 4, "sleep": 5, "score": 1}
_SIZES = {"n_ete": "depth", "n_teg": "graph_depth", "dim": "dim", "heads": "heads", "ffn": "hidden"}


def network_options(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network's configuration that a golden's description names."""
    options: dict[str, Any] = dict(MODEL.sizes.get(str(meta.get("config", MODEL.default_size)), {}))
    options |= {ours: int(meta[theirs]) for theirs, ours in _SIZES.items() if theirs in meta}
    tasks = meta.get("tasks", _DEMO_TASKS)
    return options | {
        "pooling": "graph",
        "placement": meta.get("placement", "sublayer_out"),
        "hop": int(meta.get("hop", HOP)),
        "long": "stream",
        "next_signal": True,
        "tasks": {str(task): int(n) for task, n in tasks.items()},
    }


def check_manifest(options: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Compare a network's tensors with a manifest, without making them.

    Raises
    ------
    SpecError
        If a key or a shape differs.
    """
    with torch.device("meta"):
        network = EEGPTAR(**options)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if shapes != dict(manifest):
        wrong = sorted(set(shapes.items()) ^ set(manifest.items()))
        raise SpecError(f"The network differs from its manifest at {wrong[:4]}.")


def _demo_options(size: str) -> dict[str, Any]:
    return network_options({"config": size})


def _check_all_manifests(case: GoldenCase) -> None:
    """Compare the manifests of all declared sizes, the largest too."""
    for name, manifest in case.manifests.items():
        if name in MODEL.sizes:
            check_manifest(_demo_options(name), manifest)


def _electrodes(case: GoldenCase, n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vocabulary rows and which of them are no padding."""
    lists = case.meta["channels"]
    lists = json.loads(lists) if isinstance(lists, str) else lists
    if len(lists) != n:
        raise SpecError(f"{case.name}: {len(lists)} lists of channels for {n} epochs.")
    rows, active = np.zeros((n, width), dtype=np.int64), np.zeros((n, width), dtype=bool)
    for i, channels in enumerate(lists):
        rows[i, : len(channels)] = electrode_rows(channels)
        active[i, : len(channels)] = True
    return rows, active


def reproduce(case: GoldenCase) -> dict[str, Any]:
    """Compute a golden vector.

    Parameters
    ----------
    case : GoldenCase
        Describes sizes, input shape, channels of each epoch and tasks.

    Returns
    -------
    dict
        Output by name, large ones also as stride and statistics.
    """
    _check_all_manifests(case)
    options = network_options(case.meta)
    manifest = case.manifests.get(str(case.meta.get("config")))
    if manifest is not None and options["tasks"] == _DEMO_TASKS:
        check_manifest(options, manifest)
    n, width, n_times = case.meta["input_shape"]
    x = case.input((n, width, n_times), float(case.meta.get("scale", 0.5)))
    rows, active = _electrodes(case, n, width)
    out: dict[str, Any] = {"ids": rows, "active": active, "x_first8": x.ravel()[:8]}
    short = max(0, TOKEN - n_times)
    signal = torch.from_numpy(np.pad(x, ((0, 0), (0, 0), (0, short)))).double()
    network = EEGPTAR(**options)
    fill_network(network, case.salt)
    values = _outputs(network.double().eval(), signal, torch.from_numpy(rows), active)
    for name, value in values.items():
        out |= _as_stored(case, name, value.numpy())
    return out


@torch.no_grad()
def _outputs(
    network: EEGPTAR, signal: Tensor, rows: Tensor, active: np.ndarray
) -> dict[str, Tensor]:
    there = torch.from_numpy(active)
    n, width, _ = signal.shape

    def spread(values: Tensor) -> Tensor:  # padded electrodes are zero
        whole = values.new_zeros((n, width, *values.shape[1:]))
        whole[there] = values
        return whole

    # One row per active electrode: nothing in the encoder mixes electrodes.
    signal, ids = signal[there], rows[there]
    encoded = network.encode(signal, ids, special=True)
    predicted = NextSignalObjective(network).predict(signal, ids)
    errors = (predicted[:, :-1] - network.tokens(signal)).square().mean(dim=(1, 2))
    z = spread(network.represent(signal, ids))
    first = network.teg.layers[0]
    attention, _ = first.attn.weights(first.attn_norm(network.teg.place(z, rows)), there)
    nodes = network.teg(z, rows, there)
    graph = pool_nodes(nodes, there)
    logits = {f"logits_{task}": head(graph) for task, head in network.heads.items()}
    return logits | {
        "pretrain_pred": spread(predicted),
        "loss_per_electrode": spread(errors),
        "loss_active": errors.mean(),
        "ete_tokens": spread(encoded),
        "mean_pool": spread(encoded[:, 1:-1].mean(dim=1)),
        "z": z,
        "teg0_attn": attention,
        "nodes": nodes,
        "graph": graph,
    }


def _as_stored(case: GoldenCase, name: str, value: np.ndarray) -> dict[str, Any]:
    """Return an output whole, or as the strided part and summary of a large one."""
    kept = case.shapes.get(f"{name}__strided")
    if kept is None:
        return {name: value}
    step = max(1, value.size // STORED)
    if -(-value.size // step) != kept[0]:  # stored with another step
        step = -(-value.size // kept[0])
    return {
        f"{name}__shape": np.array(value.shape),
        f"{name}__step": np.array(step),
        f"{name}__strided": value.ravel()[::step],
        f"{name}__stats": statistics(value),
    }
