"""Next-signal prediction: the objective of autoregressive pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eegfound.base import SpecError
from eegfound.models.network import SignalBatch
from eegfound.nn import Objective
from eegfound_eegpt.ar.network import EEGPTAR

LOSSES = ("l2", "l1", "cosine")
#: Electrodes below it are taken for flat: 1 µV.
_QUIETEST = 0.01


@dataclass(frozen=True)
class NextSignalLosses:
    """Losses of one batch.

    Attributes
    ----------
    total : Tensor, shape ()
        What is minimized: the mean over electrodes and tokens.
    new_samples : Tensor, shape ()
        Mean squared error of the last ``hop`` samples of each token, the only
        ones that no earlier token has shown.
    squared : Tensor, shape ()
        Mean squared error of whole tokens, whatever is minimized.
    shift_and_hold, shift_and_hold_new_samples : Tensor, shape ()
        The same two errors of a predictor that learns nothing: the previous
        token moved on by ``hop`` samples, its last value held (zero for the
        first token).
    per_electrode : Tensor, shape (n, n_channels)
        The minimized loss of each electrode's sequence.
    """

    total: Tensor
    new_samples: Tensor
    squared: Tensor
    shift_and_hold: Tensor
    shift_and_hold_new_samples: Tensor
    per_electrode: Tensor


def shift_and_hold(tokens: Tensor, hop: int) -> Tensor:
    """Predict each token by moving the previous one on.

    Parameters
    ----------
    tokens : Tensor, shape (..., n_tokens, 256)
        Raw tokens.
    hop : int
        Samples between tokens; as many samples repeat the last known value.

    Returns
    -------
    Tensor, shape (..., n_tokens, 256)
        Predictions; zero for the first token.
    """
    before = tokens[..., :-1, :]
    held = before[..., -1:].expand(*before.shape[:-1], hop)
    moved = torch.cat([before[..., hop:], held], dim=-1)
    return torch.cat([torch.zeros_like(tokens[..., :1, :]), moved], dim=-2)


class NextSignalObjective(Objective):
    """Predict each token of an electrode from its past.

    The first token is predicted from the electrode alone, the prediction after
    the last token is unused. Targets are the raw samples.

    Parameters
    ----------
    network : EEGPTAR
        With ``next_signal=True``.
    loss : {"l2", "l1", "cosine"}
        Squared error (the paper's choice), absolute error, or one minus the
        cosine of prediction and token.
    n_electrodes : int | None
        Electrodes that are drawn of each batch, where it has more: neighbours
        in a dense cap tell much the same. None takes all.
    relative : bool
        True: errors of each electrode's sequence in units of its root mean square
        (of 1 µV at least), so that quiet EEG counts as much as loud EEG. Ours;
        without it windows with drifts and movement are nearly all that counts. No
        matter to ``loss="cosine"``, which has no unit.

    Notes
    -----
    The special token is not part of pretraining and stays as it is.
    """

    def __init__(
        self, network: EEGPTAR, *, loss: str = "l2", n_electrodes: int | None = None,
        relative: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if loss not in LOSSES:
            raise SpecError(f"loss={loss!r} is not one of {LOSSES}.")
        if n_electrodes is not None and n_electrodes < 1:
            raise SpecError(f"n_electrodes={n_electrodes!r} must be None or at least 1.")
        self.network, self.loss = network, loss
        self.n_electrodes, self.relative = n_electrodes, relative
        network.special_token.requires_grad_(False)

    @property
    def encoder(self) -> EEGPTAR:
        """The network itself; its ``ete.head`` is not used afterwards."""
        return self.network

    def predict(self, signal: Tensor, rows: Tensor) -> Tensor:
        """Predict the token after each position.

        Parameters
        ----------
        signal : Tensor, shape (..., n_times)
            In units of 0.1 mV at 256 Hz.
        rows : Tensor of int64
            As in :meth:`EEGPTAR.embed`.

        Returns
        -------
        Tensor, shape (..., 1 + n_tokens, 256)
            After the electrode token, and after each signal token.
        """
        return self.network.ete.head(self.network.encode(signal, rows))

    def _distance(self, predicted: Tensor, tokens: Tensor) -> Tensor:
        if self.loss == "cosine":
            return 1 - F.cosine_similarity(predicted, tokens, dim=-1)
        difference = predicted - tokens
        if self.relative:
            power = tokens.square().mean(dim=(-2, -1), keepdim=True)
            difference = difference / power.sqrt().clamp_min(_QUIETEST)
        return (difference.abs() if self.loss == "l1" else difference.square()).mean(dim=-1)

    def forward(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> NextSignalLosses:
        """Compute the losses of a batch.

        Parameters
        ----------
        batch : SignalBatch
            ``(n, n_channels, n_times)`` in units of 0.1 mV at 256 Hz. Windows
            beyond 4 s are cut as the encoder cuts them.
        generator : torch.Generator | None
            CPU generator of the electrodes that are drawn.

        Returns
        -------
        NextSignalLosses
            Whose ``total`` is to be minimized.
        """
        signal, rows = batch.signal, batch.rows
        if self.n_electrodes is not None and self.n_electrodes < len(rows):
            drawn = torch.randperm(len(rows), generator=generator)[: self.n_electrodes]
            drawn = drawn.sort().values.to(rows.device)
            signal, rows = signal[:, drawn], rows[drawn]
        tokens, predicted = self._predict_windows(signal, rows)
        each = self._distance(predicted, tokens)
        with torch.no_grad():
            error = (predicted - tokens).square()
            plain = (shift_and_hold(tokens, self.network.hop) - tokens).square()
        new = slice(-self.network.hop, None)
        return NextSignalLosses(
            total=each.mean(),
            new_samples=error[..., new].mean(),
            squared=error.mean(),
            shift_and_hold=plain.mean(),
            shift_and_hold_new_samples=plain[..., new].mean(),
            per_electrode=each.detach().mean(dim=(-2, -1)),
        )

    def _predict_windows(self, signal: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens of ``(n, n_channels, n_times)``, and what their past predicts."""
        segments = self.network.segments(signal)
        tokens = self.network.tokens(segments)
        return tokens, self.predict(segments, rows[:, None])[..., :-1, :]

    def measure(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Tell how good the next signal is predicted, by all electrodes; see the base class.

        Returns
        -------
        dict of str to Tensor
            ``total``, ``squared`` and ``new_samples`` as in
            :class:`NextSignalLosses`, each with ``_trivial``, that of
            :func:`shift_and_hold`. ``new_samples_zero`` is the mean square of the
            new samples, the error of predicting nothing at all.
        """
        tokens, predicted = self._predict_windows(batch.signal, batch.rows)
        plain = shift_and_hold(tokens, self.network.hop)
        new = slice(-self.network.hop, None)
        out: dict[str, Tensor] = {}
        for suffix, guess in (("", predicted), ("_trivial", plain)):
            error = (guess - tokens).square()
            out[f"total{suffix}"] = self._distance(guess, tokens).mean()
            out[f"squared{suffix}"] = error.mean()
            out[f"new_samples{suffix}"] = error[..., new].mean()
        return out | {"new_samples_zero": tokens[..., new].square().mean()}

    def illustrate(
        self, batch: SignalBatch, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Predict the first epoch; see the base class.

        Each stretch of ``hop`` samples of the reconstruction is predicted from
        what is before it; the first second is predicted from the electrode alone.
        Of windows beyond 4 s the first segment is taken, and nothing is hidden.
        """
        tokens, predicted = self._predict_windows(batch.signal[:1], batch.rows)
        whole = {}
        for name, values in (("signal", tokens), ("reconstruction", predicted)):
            first, new = values[0, :, 0, 0], values[0, :, 0, 1:, -self.network.hop :]
            whole[name] = torch.cat([first, new.flatten(1)], dim=1)
        return whole

    def no_weight_decay(self) -> set[str]:
        """Return the network's tables that are not decayed."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}


def build_objective(
    *, previous: Mapping[str, Objective] | None = None, loss: str = "l2",
    n_electrodes: int | None = None, relative: bool = False, **config: Any,
) -> NextSignalObjective:  # fmt: skip
    """Build the pretraining objective for an encoder of a given size.

    Parameters
    ----------
    previous : mapping | None
        Earlier stages: there are none.
    loss, n_electrodes, relative
        See :class:`NextSignalObjective`.
    **config : Any
        See :class:`eegfound_eegpt.ar.network.EEGPTAR`; ``hop=256`` makes the
        task harder, since tokens then share no samples.

    Returns
    -------
    NextSignalObjective
        Its ``encoder`` is the network.
    """
    network = EEGPTAR(**{**config, "next_signal": True})
    return NextSignalObjective(network, loss=loss, n_electrodes=n_electrodes, relative=relative)
