"""For plugin authors: the conformance kit, golden vectors, a toy model."""

from eegfound.testing.kit import check_model

__all__ = ["check_model"]
