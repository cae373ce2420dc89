"""Self-supervised training: windows in, weights out."""
