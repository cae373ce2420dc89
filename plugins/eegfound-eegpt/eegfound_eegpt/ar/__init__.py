"""Autoregressive EEGPT (Yue et al., later BrainGPT)."""
