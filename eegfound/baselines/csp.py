"""mne's CSP without its log."""

from __future__ import annotations

from typing import Any

import mne
from mne.decoding import CSP


class QuietCSP(CSP):
    """``mne.decoding.CSP`` that reports errors only.

    Rank estimates and the like are printed once per fit otherwise, which
    drowns the output of a cross-validation. Parameters are those of
    :class:`mne.decoding.CSP`.
    """

    def fit(self, X: Any, y: Any) -> QuietCSP:
        """Estimate the filters.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            Signals.
        y : ndarray, shape (n_epochs,)
            Labels.

        Returns
        -------
        self
        """
        with mne.use_log_level("ERROR"):
            return super().fit(X, y)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Estimate the filters and return the features of the same epochs.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times)
            Signals.
        y : ndarray, shape (n_epochs,)
            Labels.
        **fit_params : Any
            None is taken; for scikit-learn.

        Returns
        -------
        ndarray, shape (n_epochs, n_components)
            Log power of the components.
        """
        return self.fit(X, y).transform(X)
