"""The steps between a recording and a model, as one pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eegfound.base import as_channel_info
from eegfound.models import FoundationModel, get_model
from eegfound.preprocessing.filtering import BandPass, Notch, check_band
from eegfound.preprocessing.resampling import Resampler

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def as_model(model: str | FoundationModel) -> FoundationModel:
    """Return the description of a model given by name or by itself."""
    return model if isinstance(model, FoundationModel) else get_model(model)


def prepare_for(
    model: str | FoundationModel,
    info: Any,
    *,
    missing: str | None = None,
    on_unknown: str = "drop",
    l_freq: float | None = None,
    h_freq: float | None = None,
    line_freq: float | None = None,
) -> Pipeline:
    """Return the front end that brings epochs to a model's montage and rate.

    After it the encoder needs no ``info``: the channels are the model's
    vocabulary in its order (NaN where nothing was recorded), the rate is the
    model's. The unit does not change.

    Parameters
    ----------
    model : str | FoundationModel
        Name of an installed model, or its description.
    info : ChannelInfo | mne.Info
        Names and rate of the epochs.
    missing : {"nan", "interpolate", "nearest", "zero", "raise"} | None
        What ``MontageMapper`` does with electrodes of the model that were not
        recorded. None is ``"nan"`` for models that take any subset of their
        electrodes, and ``"interpolate"`` for models that need all of them.
    on_unknown : {"drop", "raise"}
        What to do with channels whose name is not understood.
    l_freq, h_freq : float | None
        Pass band in Hz; None filters nothing on that side.
    line_freq : float | None
        Mains frequency in Hz to take out; None takes nothing out.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps ``notch`` and ``bandpass`` (where asked for), ``montage`` (where
        the model has a vocabulary) and ``resample``. ``repr(pipeline)`` shows
        each step with its parameters.

    Raises
    ------
    SpecError
        If a frequency does not fit the rate of the recording.
    ModelNotFoundError
        If no installed plugin offers the model.

    See Also
    --------
    describe_preparation : What a recording needs for a model, in words.

    Notes
    -----
    The front end is not needed where the encoder gets ``info`` itself
    (``make_transformer(model, info=info)`` resamples and finds the electrodes
    as well). It is for filtering, for joining recordings of several caps, and
    for models with a fixed layout.

    Examples
    --------
    >>> import eegfound as ef
    >>> info = ef.ChannelInfo(["C3", "Cz", "C4"], sfreq=250)
    >>> from eegfound.models import FoundationModel, InputSpec
    >>> spec = InputSpec(sfreq=200, patch_samples=200, vocabulary=("CZ", "C3", "C4", "O1"))
    >>> model = FoundationModel("mini", "an example", spec, "my_plugin:build", {"base": {}}, "base")
    >>> front = ef.prepare_for(model, info, l_freq=0.5, h_freq=45)
    >>> [name for name, _ in front.steps]
    ['bandpass', 'montage', 'resample']
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(scale=1e-5, size=(2, 3, 1000))
    >>> front.fit_transform(X).shape
    (2, 4, 800)
    """
    from sklearn.pipeline import Pipeline

    description = as_model(model)
    spec = description.input
    facts = as_channel_info(info)
    if missing is None:
        missing = "nan" if spec.accepts_missing else "interpolate"
    steps: list[tuple[str, Any]] = []
    if line_freq is not None:
        check_band(facts.sfreq, None, line_freq)
        steps.append(("notch", Notch(line_freq, info=facts)))
    if l_freq is not None or h_freq is not None:
        check_band(facts.sfreq, l_freq, h_freq)
        steps.append(("bandpass", BandPass(l_freq, h_freq, info=facts)))
    if spec.vocabulary is not None:
        from eegfound.montage import MontageMapper

        # The name keeps the repr short; a description that is not registered has none to look up.
        target: Any = model.lower() if isinstance(model, str) else list(spec.vocabulary)
        steps.append(
            ("montage", MontageMapper(facts, target, missing=missing, on_unknown=on_unknown))
        )
    steps.append(("resample", Resampler(facts.sfreq, spec.sfreq, method=spec.resampling)))
    return Pipeline(steps)
