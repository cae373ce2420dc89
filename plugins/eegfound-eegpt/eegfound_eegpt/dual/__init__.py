"""EEGPT of 2024 (Wang et al.): dual self-supervision with summary tokens."""
