"""FoME-style: time-frequency fusion embedding and attention with adaptive scales."""
