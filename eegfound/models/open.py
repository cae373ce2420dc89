"""The checkpoints that this project trains itself (``benchmarks/open_checkpoints.py``)."""

from __future__ import annotations

from eegfound.models.spec import Checkpoint


def open_checkpoint(package: str, model: str, size: str) -> Checkpoint:
    """Declare one of the open checkpoints.

    Parameters
    ----------
    package : str
        Package of the plugin that it ships with.
    model, size : str
        Whose weights.

    Returns
    -------
    Checkpoint
        See :meth:`eegfound.models.Checkpoint.shipped`.
    """
    return Checkpoint.shipped(
        package, model, size, licence="CC BY 4.0 (sources in the model card)",
        pretraining_datasets=("EEGMMIDB", "ADHD"),
    )  # fmt: skip
