"""The first step of every baseline: any epochs in, clean microvolts out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils import Tags

from eegfound.base import SpecError, check_unit, is_epochs, unit_factor
from eegfound.preprocessing.filtering import bandpass, check_band
from eegfound.preprocessing.signal_step import SignalStep


class BaselineInput(SignalStep):
    """Read epochs for a classical pipeline.

    Checks that every channel was recorded, converts to microvolts in double
    precision (squared volts would come close to what solvers take for zero),
    filters if asked, and takes out each channel's mean.

    Parameters
    ----------
    band : (float, float) | None
        Pass band in Hz, such as ``(8, 30)``; None filters nothing.
    info : ChannelInfo | mne.Info | None
        Names and rate of the input; with it the unit is checked.
    sfreq : float | None
        Rate of the input in Hz, instead of ``info``.
    unit : str
        Unit of arrays; Epochs are always in volts.
    max_classes : int | None
        Largest number of classes that what follows can separate.

    Attributes
    ----------
    n_features_in_ : int
        Number of channels (of samples for 2-D input).

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound.baselines import BaselineInput
    >>> X = np.random.default_rng(0).normal(scale=1e-5, size=(4, 3, 500)) + 0.02
    >>> out = BaselineInput(band=(8, 30), sfreq=250).fit_transform(X)
    >>> bool(abs(out.mean(axis=-1)).max() < 1e-9)
    True
    """

    def __init__(
        self,
        *,
        band: tuple[float, float] | None = None,
        info: Any = None,
        sfreq: float | None = None,
        unit: str = "V",
        max_classes: int | None = None,
    ) -> None:
        self.band = band
        self.info = info
        self.sfreq = sfreq
        self.unit = unit
        self.max_classes = max_classes

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters against the data; nothing is learned.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.
        y : array-like, shape (n_epochs,) | None
            Labels; only counted.

        Returns
        -------
        self
        """
        super().fit(X)
        if self.max_classes is not None and y is not None:
            classes = np.unique(np.asarray(y))
            if len(classes) > self.max_classes:
                raise SpecError(
                    f"This baseline separates at most {self.max_classes} classes, but y has "
                    f"{len(classes)}: {classes[:6].tolist()}. Use 'tangent_space', 'mdm' or "
                    "'fgmdm', or keep the epochs of two classes."
                )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the signals in microvolts, filtered, without their mean.

        Parameters
        ----------
        X : array, shape (n_epochs, n_channels, n_times) or (n_epochs, n_times), or mne.Epochs
            Signals.

        Returns
        -------
        ndarray of float64
            In the form (2-D or 3-D) of ``X``.
        """
        factor = unit_factor("V" if is_epochs(X) else self.unit, "uV")
        return super().transform(X) * factor

    def _read(self, X: Any, *, reset: bool, **options: Any) -> Any:
        signals, presence, *y = super()._read(X, reset=reset, **options)
        if is_epochs(X) or self.info is not None:
            check_unit(signals, "V" if is_epochs(X) else self.unit)
        return (signals, presence, *y)

    def _check(self, X: np.ndarray, presence: np.ndarray) -> None:
        unit_factor(self.unit)
        if not presence.all():
            channel = int(np.argmin(presence.all(axis=0)))
            name = self.ch_names_[channel] if self.ch_names_ else channel
            raise SpecError(
                f"X contains NaN: channel {name} was not recorded in "
                f"{int((~presence[:, channel]).sum())} of {len(X)} epochs. Classical pipelines "
                "need every channel: interpolate first, with "
                "MontageMapper(missing='interpolate') in front."
            )
        if self.band is not None:
            low, high = self.band
            check_band(self._needed_rate(), low, high)

    def _apply(self, X: np.ndarray, presence: np.ndarray) -> np.ndarray:
        X = X - X.mean(axis=-1, keepdims=True, dtype=np.float64)
        if self.band is not None:
            low, high = self.band
            X = bandpass(X, self._needed_rate(), low, high)
            X = X - X.mean(axis=-1, keepdims=True)
        return X

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags
