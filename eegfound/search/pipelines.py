"""A search over which model, read-out, montage, way of tuning and head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from eegfound.base import ChannelInfo, SpecError, as_channel_info
from eegfound.models import get_model
from eegfound.search.choice import Choice

#: Ways to use an encoder: frozen in front of a head of scikit-learn, or a
#: ``tuning`` of FoundationClassifier.
FROZEN = "frozen"
HEADS = ("logistic", "lda", "svm", "ridge", "knn")
AS_RECORDED = "as recorded"
#: "as recorded" lets the encoder pick its electrodes; the others map to the
#: model's whole vocabulary.
MONTAGES = (AS_RECORDED, "nan", "interpolate", "nearest", "zero")


def _heads(names: Iterable[str]) -> list[tuple[str, Any]]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    known = {
        "logistic": LogisticRegression(max_iter=2000),
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        "svm": SVC(),
        "ridge": RidgeClassifier(),
        "knn": KNeighborsClassifier(),
    }
    return [(name, known[name]) for name in _known("heads", names, known)]


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    asked, known = [names] if isinstance(names, str) else list(names), list(known)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise SpecError(f"{what}={unknown} are not among {known}.")
    return asked


def _tunings(names: Iterable[str]) -> list[str]:
    asked = [names] if isinstance(names, str) else list(names)
    if asked == [FROZEN]:
        return asked
    from eegfound.estimators._tuning import TUNING_NAMES

    return _known("tunings", asked, (FROZEN, *TUNING_NAMES))


def _one_of(options: Sequence[tuple[str, Any]]) -> Any:
    """Return a Choice, or the only option itself."""
    return Choice(list(options)) if len(options) > 1 else options[0][1]


def _montage(model: str, info: ChannelInfo, montages: Iterable[str]) -> tuple[list[Any], Any]:
    """Return the steps that map electrodes, and the channel facts behind them."""
    spec = get_model(model).input
    asked = _known("montages", montages, MONTAGES)
    fitting = [
        m
        for m in asked
        if m == AS_RECORDED
        or (spec.vocabulary is not None and (m != "nan" or spec.accepts_missing))
    ]
    if not fitting:
        raise SpecError(f"montages={asked} do not fit the model {model!r}: add {AS_RECORDED!r}.")
    if fitting == [AS_RECORDED]:
        return [], info
    from eegfound.montage import MontageMapper

    # Behind a mapper "as recorded" is NaN where nothing was recorded: the
    # encoder uses the same electrodes.
    policies = dict.fromkeys("nan" if m == AS_RECORDED else m for m in fitting)
    mappers = [(m, MontageMapper(info, model, missing=m, on_unknown="drop")) for m in policies]
    return [("montage", _one_of(mappers))], ChannelInfo(spec.vocabulary or (), info.sfreq)


def _reader(model: str, tuning: str, params: Any, heads: Any, tuning_params: Any) -> list[Any]:
    """Return the steps from electrodes to labels."""
    from eegfound.estimators import make_classifier, make_transformer

    if tuning != FROZEN:
        return [("tuned", make_classifier(model, tuning=tuning, **{**params, **tuning_params}))]
    return [
        ("encoder", make_transformer(model, **params)),
        ("scale", StandardScaler()),
        ("head", _one_of([(name, clone(head)) for name, head in heads])),
    ]


def choose_pipeline(
    models: Iterable[str] = (),
    baselines: Iterable[str] = (),
    *,
    info: Any,
    unit: str = "V",
    heads: Iterable[str] = ("logistic",),
    tunings: Iterable[str] = (FROZEN,),
    montages: Iterable[str] = ("as recorded",),
    band: tuple[float, float] | None = None,
    params: Mapping[str, Any] | None = None,
    tuning_params: Mapping[str, Any] | None = None,
) -> Choice:
    """Return one estimator that is any of several pipelines.

    With :func:`suggest_space` its space covers the choice and, within each
    option, what is worth tuning there.

    Parameters
    ----------
    models : iterable of str
        Models by name.
    baselines : iterable of str
        Names from :func:`eegfound.baselines.list_baselines`.
    info : ChannelInfo | mne.Info
        Channel facts of the data.
    unit : str
        Unit of the data.
    heads : iterable of {"logistic", "lda", "svm", "ridge", "knn"}
        Classifiers behind the frozen encoder.
    tunings : iterable of str
        ``"frozen"`` and ways of tuning of :class:`FoundationClassifier`
        (``"head"``, ``"lora"``, ``"full"``, …). Each is an option
        ``"<model>"`` or ``"<model>+<tuning>"``.
    montages : iterable of str
        ``"as recorded"``, or what is done with electrodes of the model's
        vocabulary that are not recorded: ``"nan"``, ``"interpolate"``,
        ``"nearest"``, ``"zero"``. The latter need a model with a vocabulary.
    band : (float, float) | None
        Pass band in Hz of the baselines before the search changes it.
    params : mapping | None
        Further parameters of all encoders (``checkpoint``, ``size``,
        ``cache``, ``dtype`` …).
    tuning_params : mapping | None
        Further parameters of the tuned ones (``max_epochs``,
        ``early_stopping`` …).

    Returns
    -------
    Choice
        Options are named after models and baselines; the first is chosen.

    Raises
    ------
    SpecError
        If a name is not known, or there is no option.

    Examples
    --------
    >>> import eegfound as ef
    >>> from eegfound.search import choose_pipeline, suggest_space
    >>> info = ef.ChannelInfo(["C3", "Cz", "C4"], 200)
    >>> either = choose_pipeline(baselines=["tangent_space", "band_power"], info=info)
    >>> list(suggest_space(either))[:2]
    ['chosen', 'tangent_space__signals__band']
    """
    from eegfound.benchmark.pipelines import baseline_pipelines

    info = as_channel_info(info)
    tails = _heads(heads)
    tunings = _tunings(tunings)
    options: list[tuple[str, Any]] = []
    for model in [models] if isinstance(models, str) else models:
        for tuning in tunings:
            steps, facts = _montage(model, info, montages)
            own = {"info": facts, "unit": unit, **(params or {})}
            steps += _reader(model, tuning, own, tails, tuning_params or {})
            name = model if tuning == FROZEN else f"{model}+{tuning}"
            options.append((name, Pipeline(steps)))
    named = baseline_pipelines(list(baselines), info=info, unit=unit, band=band)
    options += list(named.items())
    if not options:
        raise SpecError("choose_pipeline needs at least one model or baseline.")
    return Choice(options)
