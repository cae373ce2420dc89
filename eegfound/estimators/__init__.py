"""What users import: Transformer, Classifier, Regressor and Pretrainer of any model."""

from eegfound.estimators.classifier import FoundationClassifier
from eegfound.estimators.factory import make_classifier, make_regressor, make_transformer
from eegfound.estimators.pretrainer import FoundationPretrainer, make_pretrainer
from eegfound.estimators.regressor import FoundationRegressor
from eegfound.estimators.transformer import FoundationTransformer

__all__ = [
    "FoundationClassifier",
    "FoundationPretrainer",
    "FoundationRegressor",
    "FoundationTransformer",
    "make_classifier",
    "make_pretrainer",
    "make_regressor",
    "make_transformer",
]
