"""The skorch callback that lets a search stop a net while it trains."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback

from eegfound.search.pruning import current_judge


class ReportEpochs(Callback):
    """Report a value of the net's history to the search around it.

    Inside :class:`OptunaSearchCV` with a pruner, nets of FoundationClassifier
    and FoundationRegressor have this callback by themselves. A skorch net of
    your own in a pipeline reports if you add it to its ``callbacks``; outside
    a search it does nothing.

    Parameters
    ----------
    monitor : str
        Entry of the history, ``"valid_loss"`` or ``"valid_acc"`` for instance.
        What ends in ``"loss"`` is better when smaller. A net without that
        entry (no validation split) reports nothing.

    Raises
    ------
    optuna.TrialPruned
        At the end of an epoch, if the search's pruner says so.

    Examples
    --------
    >>> from eegfound.search import ReportEpochs
    >>> ReportEpochs("valid_acc").monitor
    'valid_acc'
    """

    def __init__(self, monitor: str = "valid_loss") -> None:
        self.monitor = monitor

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Report the epochs of a training that is taken up again."""
        for number in range(1, len(net.history) + 1):
            self._report(net, number)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Report the epoch."""
        self._report(net, len(net.history))

    def _report(self, net: Any, number: int) -> None:
        judge = current_judge()
        row = net.history[number - 1]
        if judge is None or self.monitor not in row:
            return
        value = float(row[self.monitor])
        judge.after_epoch(net, number, -value if self.monitor.endswith("loss") else value)
