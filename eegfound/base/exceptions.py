"""The few exception and warning classes of the suite.

All of them derive from a built-in class that scikit-learn users already
catch, so ``except ValueError`` keeps working.
"""


class SpecError(ValueError):
    """The data do not fit the input contract of a model or a step."""


class UnitError(SpecError):
    """The amplitude cannot be EEG in the stated unit."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, or is not what it should be."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint was not found in any of the places searched."""


class TrainingError(RuntimeError):
    """A training cannot go on: its loss or gradient is no finite number."""


class PluginError(RuntimeError):
    """A plugin breaks the contract of the suite."""


class ModelNotFoundError(PluginError, KeyError):
    """No installed plugin offers the model asked for."""

    def __str__(self) -> str:
        """Return the message itself (KeyError would quote it)."""
        return str(self.args[0]) if self.args else ""


class RandomWeightsWarning(UserWarning):
    """An encoder runs with random, not pretrained, weights."""


class SignalWarning(UserWarning):
    """Something in the signal was changed or looks unusual."""
