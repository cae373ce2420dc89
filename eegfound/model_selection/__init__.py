"""Splits and ensembles for EEG: few shots of a new person, stacks that keep people apart."""

from eegfound.model_selection.few_shot import FewShotSplit
from eegfound.model_selection.few_shot_curve import few_shot_curve, summarize_curve
from eegfound.model_selection.stacking import GroupedStackingClassifier

__all__ = ["FewShotSplit", "GroupedStackingClassifier", "few_shot_curve", "summarize_curve"]
