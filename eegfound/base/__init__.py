"""Ground floor: channel facts, units, arrays and the exceptions of the suite."""

from eegfound.base.arrays import (
    as_3d,
    epochs_to_array,
    is_epochs,
    presence_mask,
    refuse_continuous,
)
from eegfound.base.exceptions import (
    CheckpointError,
    CheckpointNotFoundError,
    ModelNotFoundError,
    PluginError,
    RandomWeightsWarning,
    SignalWarning,
    SpecError,
    TrainingError,
    UnitError,
)
from eegfound.base.info import ChannelInfo, as_channel_info
from eegfound.base.units import check_unit, plausible_unit, robust_amplitude, unit_factor

__all__ = [
    "ChannelInfo",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ModelNotFoundError",
    "PluginError",
    "RandomWeightsWarning",
    "SignalWarning",
    "SpecError",
    "TrainingError",
    "UnitError",
    "as_3d",
    "as_channel_info",
    "check_unit",
    "epochs_to_array",
    "is_epochs",
    "plausible_unit",
    "presence_mask",
    "refuse_continuous",
    "robust_amplitude",
    "unit_factor",
]
