"""GPT-2 whose sequences begin with EEG."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eegfound.base import SpecError
from eegfound_neurolm.blocks import Block, initialize
from eegfound_neurolm.vocabulary import POSITION_ROWS, TEXT_ROWS


class GPT2(nn.Module):
    """GPT-2 with a head over words and codes of EEG.

    Parameters
    ----------
    width, depth, heads : int
        Width of a token, blocks, heads.
    n_codes : int
        Rows of the head after those of text. Input and output tables are not
        shared.
    text_rows : int
        Rows of text in both tables; 0 leaves text out.
    """

    def __init__(
        self, width: int, depth: int, heads: int, n_codes: int, *, text_rows: int = TEXT_ROWS
    ) -> None:
        super().__init__()
        self.text_rows = text_rows
        self.transformer = nn.ModuleDict(
            {
                **({"wte": nn.Embedding(text_rows, width)} if text_rows else {}),
                "wpe": nn.Embedding(POSITION_ROWS, width),
                "h": nn.ModuleList(Block(width, heads, bias=True) for _ in range(depth)),
                "ln_f": nn.LayerNorm(width, eps=1e-5),
            }
        )
        self.lm_head = nn.Linear(width, text_rows + n_codes, bias=False)
        initialize(self, depth)

    def embed_text(self, ids: Tensor) -> Tensor:
        """Return vectors of words, ``(..., width)``, without their positions.

        Raises
        ------
        SpecError
            If the model was built without text.
        """
        if not self.text_rows:
            raise SpecError(
                "This NeuroLM has no words (text_rows=0, as in size 'small'): use a size with text."
            )
        return self.transformer["wte"](ids)

    def forward(self, x: Tensor, positions: Tensor, *, layer: int | None = None) -> Tensor:
        """Run the language model.

        Parameters
        ----------
        x : Tensor, shape (n, n_tokens, width)
            Vectors of EEG and text, without ``wpe``.
        positions : Tensor of int64, shape (n_tokens,)
            Second of each token of EEG; text goes on counting. A token sees
            those at its own position and before it: text is causal, and the
            channels of one second see each other.
        layer : int | None
            Blocks to run; None runs all, and the final norm.

        Returns
        -------
        Tensor, shape (n, n_tokens, width)
            Hidden states.
        """
        x = x + self.transformer["wpe"](positions)
        mask = visible(positions)
        for block in self.transformer["h"][:layer]:  # type: ignore[index]
            x = block(x, mask)
        return self.transformer["ln_f"](x) if layer is None else x


def visible(positions: Tensor) -> Tensor:
    """Return which token sees which.

    Parameters
    ----------
    positions : Tensor of int64, shape (n_tokens,)
        See :meth:`GPT2.forward`.

    Returns
    -------
    Tensor of bool, shape (n_tokens, n_tokens)
        True where the row's token sees the column's: block-triangular over
        the seconds of EEG, triangular over text.

    Examples
    --------
    >>> import torch
    >>> from eegfound_neurolm.language import visible
    >>> visible(torch.tensor([0, 0, 1])).int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    return torch.ge(positions[:, None], positions[None, :])
