"""What users import: Transformer, Classifier and Regressor of any model."""

from eegfound.estimators.classifier import FoundationClassifier
from eegfound.estimators.factory import make_classifier, make_regressor, make_transformer
from eegfound.estimators.regressor import FoundationRegressor
from eegfound.estimators.transformer import FoundationTransformer

__all__ = [
    "FoundationClassifier",
    "FoundationRegressor",
    "FoundationTransformer",
    "make_classifier",
    "make_regressor",
    "make_transformer",
]
