"""The networks of MMM's golden vectors, with the weights that their rule gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from eegfound.base import SpecError
from eegfound.montage import parse_name
from eegfound.testing.golden import GoldenCase, fill_network
from eegfound_mmm.heads import TwoLayerHead, make_reference, make_reference_sigmoid
from eegfound_mmm.network import MMM
from eegfound_mmm.objective import RegionBottleneck
from eegfound_mmm.plugin import MODEL
from eegfound_mmm.topology import N_TOKENS, VOCABULARY

#: Left as constructed: tables, not weights.
_TABLES = ("*pos_embed",)
Shapes = dict[str, tuple[int, ...]]


class FineTuned:
    """The authors' fine-tuning model: our encoder and their head.

    Attributes
    ----------
    encoder : MMM
        With names as in the authors' state dict.
    head : TwoLayerHead
        Likewise.
    """

    def __init__(self, encoder: MMM, head: TwoLayerHead) -> None:
        self.encoder, self.head = encoder, head

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield all parameters in the authors' order."""
        yield from self.encoder.named_parameters()
        yield from self.head.named_parameters()


class Pretrained:
    """The pretraining pair under the names of the goldens.

    Attributes
    ----------
    objective : RegionBottleneck
        Encoder and decoder.
    """

    def __init__(self, objective: RegionBottleneck) -> None:
        self.objective = objective

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield all parameters, those of the encoder first."""
        for name, parameter in self.objective.named_parameters():
            yield _golden_name(name), parameter


def _golden_name(name: str) -> str:
    """Take away our name of the encoder: ``network.network.x`` is ``network.x`` there."""
    return name.removeprefix("network.")


def rows_of(names: Iterable[str]) -> Tensor:
    """Return the rows of electrodes in the topology, ``(n_channels,)``; T3 is T7.

    Raises
    ------
    SpecError
        If one is unknown.
    """
    names = [(parse_name(name).name or str(name)).upper() for name in names]
    unknown = [name for name in names if name not in VOCABULARY]
    if unknown:
        raise SpecError(f"MMM has no electrode {unknown}.")
    return torch.tensor([VOCABULARY.index(name) for name in names])


def encoder_options(case: GoldenCase) -> dict[str, Any]:
    """Return what :class:`eegfound_mmm.network.MMM` is built with.

    Parameters
    ----------
    case : GoldenCase
        Whose description names width, depth, heads, attention and positions.

    Returns
    -------
    dict
        Options by name.
    """
    meta = case.meta
    options = dict(MODEL.sizes[MODEL.default_size])
    for ours, theirs in (("width", "encoder_dim"), ("depth", "depth"), ("n_heads", "heads")):
        if theirs in meta:
            options[ours] = int(meta[theirs])
    if meta.get("local"):
        options["attention"] = "local"
    if "pe" in meta:
        options["position"] = str(meta["pe"])
    return options


def filled_model(case: GoldenCase) -> FineTuned:
    """Build the fine-tuning model of a case, in eval mode.

    Raises
    ------
    SpecError
        If the folder's manifest of that width disagrees.
    """
    encoder = MMM(**encoder_options(case))
    sigmoid = case.meta.get("task") == "classification"
    make = make_reference_sigmoid if sigmoid else make_reference
    head = make(18 * encoder.width, int(case.meta.get("out_size", 3)))
    shapes = fill_network(encoder, case.salt, skip=_TABLES) | fill_network(head, case.salt)
    _check(case, shapes, marker="fc_out1.weight", ignore=("fc_out2.weight", "fc_out2.bias"))
    encoder.eval()
    head.eval()
    return FineTuned(encoder, head)


def filled_objective(case: GoldenCase) -> Pretrained:
    """Build the pretraining pair of a case, in eval mode; raises like :func:`filled_model`."""
    meta = case.meta
    objective = RegionBottleneck(
        MMM(**encoder_options(case)),
        decoder_width=meta.get("decoder_dim"),
        decoder_depth=meta.get("decoder_depth"),
        decoder_heads=meta.get("decoder_heads"),
    ).eval()
    decoder = objective.decoder_network
    shapes = fill_network(objective.network, case.salt, skip=_TABLES)
    shapes |= fill_network(decoder, case.salt, prefix="decoder_network.", skip=_TABLES)
    shapes |= fill_network(objective.decoder_pred, case.salt, prefix="decoder_pred.")
    _check(case, shapes, marker="decoder_pred.weight", ignore=())
    return Pretrained(objective)


def _check(case: GoldenCase, shapes: Shapes, *, marker: str, ignore: tuple[str, ...]) -> None:
    """Compare names and shapes with the folder's manifest of the same kind, width and depth."""
    # The authors keep the attention mask among their tensors; ours follows from
    # the topology.
    masks = [key.replace("pos_embed", "attn_mask") for key in shapes if key.endswith("pos_embed")]
    own = shapes | dict.fromkeys(masks, (N_TOKENS, N_TOKENS))
    width = shapes["network.cls_token"]
    for name, manifest in case.manifests.items():
        same = manifest.get("network.cls_token") == width and _depth(manifest) == _depth(own)
        if marker not in manifest or not same:
            continue
        theirs = {k: tuple(v) for k, v in manifest.items()}
        wrong = set(own) ^ set(theirs) | {
            key for key in set(own) & set(theirs)
            if own[key] != theirs[key] and key not in ignore
        }  # fmt: skip
        if wrong:
            raise SpecError(
                f"{case.name}: the network differs from manifest_{name} at {sorted(wrong)[:4]}."
            )


def _depth(shapes: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of blocks of encoder and decoder."""
    first, second = (
        len({key.split(".")[2] for key in shapes if key.startswith(f"{part}.blocks.")})
        for part in ("network", "decoder_network")
    )
    return first, second
