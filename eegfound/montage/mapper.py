"""The scikit-learn step that brings recordings to one montage."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from eegfound.base import (
    ChannelInfo,
    SignalWarning,
    SpecError,
    as_3d,
    as_channel_info,
    epochs_to_array,
    is_epochs,
    presence_mask,
)
from eegfound.montage.mapping import FILLS, MISSING, MappingTask, apply_matrix, mapping_matrix
from eegfound.montage.planning import plan_montage
from eegfound.montage.report import MontageReport

_ON_UNKNOWN = ("raise", "drop")


class MontageMapper(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Map the channels of a recording to a target montage.

    Electrodes that are recorded and wanted pass through unchanged; what
    happens to wanted electrodes that were not recorded is ``missing``.

    Parameters
    ----------
    info : ChannelInfo | mne.Info | None
        Channel names and rate of the arrays. Not needed for MNE Epochs.
    target : str | Layout | sequence of str | ChannelInfo | mne.Info | None
        Where to go: a model's name (its whole vocabulary in its order), a
        layout's name, a layout or electrode names. None keeps the recorded
        electrodes, under their canonical names and without non-EEG channels;
        without ``info`` as well, the mapper passes arrays through.
    missing : {"raise", "nan", "interpolate", "nearest", "zero"}
        What to do with target electrodes that were not recorded, be it in the
        recording or in single epochs (NaN channels): raise an error; fill with
        NaN, for models that take any subset; interpolate by spherical splines
        from all recorded electrodes; copy the nearest recorded electrode;
        fill with zeros.
    on_unknown : {"raise", "drop"}
        What to do with channels whose name is not understood. Electrodes that
        are understood but not in the target are left out (or interpolated
        from); ``report_`` names them.

    Attributes
    ----------
    mapping_ : ndarray, shape (n_target, n_channels)
        ``output = mapping_ @ input`` for epochs in which everything was
        recorded. Rows of NaN stand for electrodes that are not recorded.
    ch_names_out_ : tuple of str | None
        Electrodes of the output. None for a mapper without info and target.
    info_in_, info_out_ : ChannelInfo | None
        Channel facts of the input and of the output.
    picks_ : ndarray of int
        Channels of the input that are used.
    report_ : MontageReport | None
        How each target electrode gets its signal and what is not used.
    rank_ : int
        Rank of the finite rows of ``mapping_``: how many independent signals
        the output has. Covariances of interpolated data have this rank.
    n_features_in_ : int
        Length of axis 1 of the array seen in ``fit``.

    Raises
    ------
    SpecError
        In ``fit``, if names are not understood or electrodes are missing
        (``missing="raise"``); in ``transform``, if NaN channels are.

    Warns
    -----
    SignalWarning
        If ``missing`` is ``"interpolate"`` or ``"nearest"`` and a target name
        has no place on the head; it stays NaN.

    Notes
    -----
    A channel that is NaN throughout an epoch was not recorded in that epoch:
    it is interpolated from the channels that are there. Epochs are treated one
    by one, so the output does not depend on what else is in the array.

    Two names of one electrode in a target (``T3`` and ``T7``) are two rows; a
    recorded electrode fills the row of its own name. Bipolar derivations of
    the target (``Fp1-F7``) are computed from electrodes if the target has
    nothing else, or when missing electrodes are to be filled anyway.

    Input of 2-D, ``(n_epochs, n_times)``, is read as windows of one channel;
    the output is 2-D as well if the target has one electrode.

    Examples
    --------
    >>> import numpy as np
    >>> from eegfound import ChannelInfo, MontageMapper
    >>> info = ChannelInfo(["EEG C3-REF", "EEG T3-REF", "ECG"], sfreq=200)
    >>> X = np.random.default_rng(0).normal(scale=1e-5, size=(2, 3, 400))
    >>> mapper = MontageMapper(info=info, target=["T7", "C3", "Cz"], missing="nan")
    >>> out = mapper.fit_transform(X)
    >>> out.shape, bool(np.isnan(out[:, 2]).all())
    ((2, 3, 400), True)
    >>> print(mapper.report_)
    Target 3 electrodes: 3 electrodes.
      recorded (2): T7, C3
      missing (1): Cz
      taken for another name: EEG T3-REF as T7
      not used: ECG (not an EEG signal)
    """

    mapping_: np.ndarray
    picks_: np.ndarray
    info_in_: ChannelInfo | None
    _task: MappingTask | None
    ch_names_out_: tuple[str, ...] | None
    info_out_: ChannelInfo | None
    report_: MontageReport | None
    rank_: int
    n_features_in_: int

    def __init__(
        self,
        info: Any = None,
        target: Any = None,
        *,
        missing: Literal["raise", "nan", "interpolate", "nearest", "zero"] = "raise",
        on_unknown: Literal["raise", "drop"] = "raise",
    ) -> None:
        self.info = info
        self.target = target
        self.missing = missing
        self.on_unknown = on_unknown

    def fit(self, X: Any, y: Any = None) -> MontageMapper:
        """Read the names and compute the mapping.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.BaseEpochs
            Signals in any unit.
        y : ignored
            For scikit-learn.

        Returns
        -------
        MontageMapper
            The mapper itself.
        """
        for name, value, allowed in (
            ("missing", self.missing, MISSING),
            ("on_unknown", self.on_unknown, _ON_UNKNOWN),
        ):
            if value not in allowed:
                raise SpecError(f"{name}={value!r} is not one of {allowed}.")
        array, info = self._read(X, reset=True)
        self.info_in_ = info
        self._ndim = array.ndim
        if info is None:
            if self.target is not None:
                raise SpecError(
                    "MontageMapper(target=...) must know which channels X has: pass "
                    "info=epochs.info, info=eegfound.ChannelInfo(ch_names=[...], sfreq=...), or "
                    "the mne Epochs themselves."
                )
            n_channels = as_3d(array).shape[1]
            self._task, self.picks_ = None, np.arange(n_channels)
            self.mapping_, self.rank_ = np.eye(n_channels), n_channels
            self.ch_names_out_ = self.info_out_ = self.report_ = None
            presence_mask(as_3d(array))
            return self
        signal = as_3d(array, info=info)
        plan = plan_montage(info, self.target, missing=self.missing, on_unknown=self.on_unknown)
        self._task, self.picks_ = plan.task, plan.picks
        self.mapping_, self.rank_ = plan.mapping, plan.rank
        self.report_, self.info_out_ = plan.report, plan.info_out
        self.ch_names_out_ = tuple(plan.info_out.ch_names)
        placeless = plan.report.of("missing")
        if placeless and self.missing in FILLS:
            warnings.warn(
                f"Target {plan.report.target!r} names {placeless}, which have no known place on "
                "the head (or ends with different references) and stay NaN although "
                f"missing={self.missing!r}.",
                SignalWarning,
                stacklevel=2,
            )
        self._used(signal)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Map signals to the target.

        Parameters
        ----------
        X : ndarray, shape (n_epochs, n_channels, n_times) | mne.BaseEpochs
            Signals with the channels seen in ``fit``.

        Returns
        -------
        ndarray, shape (n_epochs, n_target, n_times)
            In the unit and precision of ``X`` (volts for Epochs).
        """
        check_is_fitted(self, "mapping_")
        array, info = self._read(X, reset=False)
        if is_epochs(X) and info is not None:
            self._check_same_channels(info)
        if array.ndim != self._ndim:
            raise SpecError(
                f"MontageMapper was fitted on {self._ndim}-D data, got shape {array.shape}."
            )
        signal = as_3d(array, info=self.info_in_)
        if self._task is None:
            presence_mask(signal)
            return array.copy()
        signal, presence = self._used(signal)
        patterns, which = np.unique(presence, axis=0, return_inverse=True)
        which = which.reshape(-1)
        out = np.empty((len(signal), len(self.mapping_), signal.shape[-1]), dtype=array.dtype)
        for number, pattern in enumerate(patterns):
            epochs = np.flatnonzero(which == number)
            try:
                matrix, _ = mapping_matrix(self._task, pattern)
            except SpecError as error:
                raise SpecError(f"{error} (epoch {epochs[0]} of X)") from error
            apply_matrix(matrix, signal, epochs, out)
        return out[:, 0] if array.ndim == 2 and out.shape[1] == 1 else out

    def _read(self, X: Any, *, reset: bool) -> tuple[np.ndarray, ChannelInfo | None]:
        """Return the array and what is known of its channels."""
        info = as_channel_info(self.info) if self.info is not None else None
        if is_epochs(X):
            X, own = epochs_to_array(X)
            if info is not None and info.ch_names != own.ch_names:
                raise SpecError(
                    f"info names {list(info.ch_names[:8])} but the Epochs have "
                    f"{list(own.ch_names[:8])}: leave info out, or pass these Epochs' info."
                )
            info = info or own
        elif not reset:
            info = self.info_in_
        if info is not None and getattr(X, "ndim", 2) == 3:
            as_3d(X, info=info)  # says which channels are meant, before scikit-learn counts
        array = validate_data(
            self,
            X,
            reset=reset,
            allow_nd=True,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
        )
        return array, info

    def _used(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the channels that are used, and which of them were recorded."""
        if len(self.picks_) == signal.shape[1]:
            return signal, presence_mask(signal)
        signal = signal[:, self.picks_]
        try:
            return signal, presence_mask(signal)
        except SpecError as error:
            assert self._task is not None
            names = [channel.raw for channel in self._task.report.channels]
            raise SpecError(f"{error} (channels used: {', '.join(names)})") from error

    def _check_same_channels(self, info: ChannelInfo) -> None:
        if self.info_in_ is not None and info.ch_names != self.info_in_.ch_names:
            raise SpecError(
                f"MontageMapper was fitted on channels {list(self.info_in_.ch_names[:8])}, these "
                f"Epochs have {list(info.ch_names[:8])}: fit one mapper per cap."
            )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output's channels (of its samples if 2-D).

        Parameters
        ----------
        input_features : array-like of str | None
            Names of the samples of 2-D input; ignored for 3-D input.

        Returns
        -------
        ndarray of str
            One name per entry of axis 1 of the output.
        """
        check_is_fitted(self, "mapping_")
        if self._ndim == 2 and len(self.mapping_) == 1:
            if input_features is not None:
                return np.asarray(input_features, dtype=object)
            given = getattr(self, "feature_names_in_", None)
            samples = [f"x{i}" for i in range(self.n_features_in_)] if given is None else given
            return np.asarray(samples, dtype=object)
        names = self.ch_names_out_ or [f"ch{i}" for i in range(len(self.mapping_))]
        return np.asarray(names, dtype=object)

    def set_output(self, *, transform: str | None = None) -> MontageMapper:
        """Accept scikit-learn's choice of container; signals stay arrays.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} | None
            Ignored, since a data frame cannot hold epochs of channels. Lets
            ``Pipeline.set_output`` reach the steps that make features.

        Returns
        -------
        MontageMapper
            The mapper itself.
        """
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
