"""Read-outs with a class token, made of the networks of pretraining.

The authors' fine-tunable classifier runs the encoder's summary tokens through
the predictor or the reconstructor once more, with a class token in front.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.nn.slices import SlicePredictor, SliceReconstructor
from eegfound.nn.slices.blocks import TimeEmbed

#: Networks that can read out, by the name they have in state dicts.
READOUTS = ("predictor", "reconstructor")


def _read(
    z: Tensor, cls_token: Tensor, embed: nn.Linear, time_embed: TimeEmbed, blocks: nn.ModuleList
) -> Tensor:
    """Run ``[class token, summary tokens]`` through blocks; the class token stands at time 0."""
    n, n_slices, n_summary = z.shape[:3]
    x = torch.cat([cls_token.to(z.dtype).expand(n, 1, -1), embed(z).flatten(1, 2)], dim=1)
    times = torch.arange(n_slices, device=z.device).repeat_interleave(n_summary)
    angles = time_embed(torch.cat([times[:1], times]))
    for block in blocks:
        x = block(x, angles)
    return x


class PredictorReadout(SlicePredictor):
    """The predictor with a class token.

    Parameters
    ----------
    width, n_summary, depth, heads, **dropout
        See :class:`eegfound.nn.slices.SlicePredictor`.
    out_proj : bool
        Whether norm and projection of pretraining follow.
    """

    def __init__(
        self, *, width: int, n_summary: int, depth: int, heads: int, out_proj: bool = False,
        **dropout: float,
    ) -> None:  # fmt: skip
        super().__init__(width=width, n_summary=n_summary, depth=depth, heads=heads, **dropout)
        self.out_proj, self.width = out_proj, width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    @property
    def out_width(self) -> int:
        """Length of the tokens that :meth:`read` returns."""
        return self.width

    def read(self, z: Tensor) -> Tensor:
        """Return the class token and all others.

        Parameters
        ----------
        z : Tensor, shape (n, n_slices, n_summary, width)
            The encoder's summary tokens.

        Returns
        -------
        Tensor, shape (n, 1 + n_slices * n_summary, out_width)
            Class token first.
        """
        x = _read(
            z, self.cls_token, self.predictor_embed, self.time_embed, self.predictor_blocks
        )  # fmt: skip
        return self.predictor_proj(self.predictor_norm(x)) if self.out_proj else x


class ReconstructorReadout(SliceReconstructor):
    """The reconstructor with a class token.

    Parameters
    ----------
    width, n_summary, depth, heads, patch, n_names, **dropout
        See :class:`eegfound.nn.slices.SliceReconstructor`.
    out_proj : bool
        Whether norm and projection (to ``patch`` numbers) of pretraining
        follow.
    """

    def __init__(
        self, *, width: int, n_summary: int, depth: int, heads: int, patch: int = 64,
        n_names: int = 62, out_proj: bool = False, **dropout: float,
    ) -> None:  # fmt: skip
        super().__init__(
            width=width, n_summary=n_summary, depth=depth, heads=heads, patch=patch,
            n_names=n_names, **dropout,
        )  # fmt: skip
        self.out_proj, self.width, self.patch = out_proj, width, patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    @property
    def out_width(self) -> int:
        """Length of the tokens that :meth:`read` returns."""
        return self.patch if self.out_proj else self.width

    def read(self, z: Tensor) -> Tensor:
        """Return the class token and all others; see :meth:`PredictorReadout.read`."""
        x = _read(
            z, self.cls_token, self.reconstructor_embed, self.time_embed,
            self.reconstructor_blocks,
        )  # fmt: skip
        return self.reconstructor_proj(self.reconstructor_norm(x)) if self.out_proj else x


def build_readout(kind: str, *, depths: tuple[int, ...], **options: object) -> nn.Module:
    """Build a read-out network.

    Parameters
    ----------
    kind : {"predictor", "reconstructor"}
        Which network of pretraining.
    depths : sequence of int
        Blocks of encoder, predictor and reconstructor.
    **options : object
        See the two classes; ``patch`` and ``n_names`` count for the
        reconstructor only.

    Returns
    -------
    PredictorReadout | ReconstructorReadout
        With ``read`` and ``out_width``.
    """
    if kind == "reconstructor":
        return ReconstructorReadout(depth=depths[2], **options)  # type: ignore[arg-type]
    spared = {key: value for key, value in options.items() if key not in ("patch", "n_names")}
    return PredictorReadout(depth=depths[1], **spared)  # type: ignore[arg-type]
