"""LaBraM for eegfound."""
