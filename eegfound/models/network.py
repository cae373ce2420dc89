"""The shape every network takes and gives (this module imports torch).

A plugin's network is an :class:`EncoderNetwork`. The suite hands it batches in
which every epoch has the same electrodes, and gets back tokens that know where
they come from; pooling, heads and read-outs are written once on that.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class SignalBatch:
    """A batch of epochs with the same recorded electrodes.

    Attributes
    ----------
    signal : Tensor, shape (n_epochs, n_channels, ...)
        Samples in the network's own unit (or the front end's features).
    rows : Tensor of int64, shape (n_channels,)
        0-based row of each channel in the vocabulary; all -1 where the model
        has none.
    ch_names : tuple of str
        Name of each channel as the model knows it.
    positions : Tensor | None, shape (n_channels, 3)
        Electrode positions in metres, where the model asked for them.
    presence : Tensor of bool | None, shape (n_epochs, n_channels)
        Only for models with ``accepts_missing=False`` and a fixed layout.
    """

    signal: Tensor
    rows: Tensor
    ch_names: tuple[str, ...] = ()
    positions: Tensor | None = None
    presence: Tensor | None = None


@dataclass(frozen=True)
class Tokens:
    """What a network says about a batch.

    Attributes
    ----------
    values : Tensor, shape (n_epochs, n_tokens, width)
        One vector per token.
    channels : Tensor of int64, shape (n_tokens,)
        Index into the batch's channel axis; -1 for a token of no channel.
    times : Tensor of int64, shape (n_tokens,)
        Index of the patch in time; -1 for a token of no moment.
    summary : Tensor of bool | None, shape (n_tokens,)
        True for class, region or summary tokens. Default: tokens with
        neither channel nor time.
    """

    values: Tensor
    channels: Tensor
    times: Tensor
    summary: Tensor | None = None

    @property
    def is_summary(self) -> Tensor:
        """Mask of the summary tokens."""
        if self.summary is not None:
            return self.summary
        return (self.channels < 0) & (self.times < 0)


class EncoderNetwork(nn.Module):
    """Base class of the networks that plugins provide.

    Subclasses set ``width`` and ``n_layers`` and implement :meth:`forward`.
    A forward pass must leave the module's state unchanged.
    """

    #: Length of a token vector.
    width: int
    #: Number of layers whose output ``layer=`` can select.
    n_layers: int
    #: ``fnmatch`` patterns of tensors a file of the suite's own format may lack.
    optional_state: tuple[str, ...] = ()

    def forward(self, batch: SignalBatch, layer: int | None = None) -> Tokens:
        """Encode a batch.

        Parameters
        ----------
        batch : SignalBatch
            Signals and electrodes.
        layer : int | None
            Number of layers to run (0 … ``n_layers``), whose raw output is
            returned; None runs the whole network with its final norm.

        Returns
        -------
        Tokens
            Token vectors with their place.
        """
        raise TypeError(f"{type(self).__name__} must implement forward(batch, layer=None).")

    def adapt_state(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Fit a state dict of the suite's own format to this network's options.

        Weights saved from a network built for one read-out may hold tensors
        that another read-out does not have.

        Returns
        -------
        state : dict
            What to load.
        dropped : tuple of str
            Keys left out on purpose.
        """
        return state, ()

    def pool(self, tokens: Tokens, pooling: str) -> Tensor | None:
        """Compute a read-out of the model's own, ``(n_epochs, n_features)``.

        None (the default) leaves the read-out to the suite.
        """
        return None

    def finish_pooling(self, pooled: Tensor) -> Tensor:
        """Apply what the model does after pooling (identity by default).

        Called for ``layer=None``, with any pooling the network was built for.
        """
        return pooled

    def readout_parameters(self) -> set[str]:
        """Return names of parameters that belong to the model's own read-out.

        They are not pretrained (a gate, a graph over electrodes, a special
        token): ``tuning="readout"`` trains them with the head while the rest of
        the network stays frozen.
        """
        return set()

    def lora_targets(self) -> tuple[str, ...]:
        """Return which weights ``tuning="lora"`` adds low-rank matrices to.

        ``fnmatch`` patterns of names of linear layers (``"blocks.*.attn.qkv"``),
        or of matrices that the network applies itself
        (``"blocks.*.attn.in_proj_weight"``). A linear layer must be *called*: a
        network that reads its ``weight`` instead passes the added matrices by
        (the suite notices, and refuses). Published practice is the projections
        of attention (Hu et al., "LoRA", ICLR 2022).

        Empty (the default) says nothing: every linear layer that is called in
        layers 1 to ``n_layers`` (see :meth:`layer_index`) is taken.
        """
        return ()

    def layer_index(self, name: str) -> int:
        """Return the depth of a parameter for layer-wise learning rates.

        0 is the input side (embeddings), ``n_layers + 1`` the output side.
        """
        raise TypeError(f"{type(self).__name__} does not say at which depth {name!r} stands.")

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters exempt from weight decay."""
        return set()
