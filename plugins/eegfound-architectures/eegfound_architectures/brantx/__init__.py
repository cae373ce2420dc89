"""Brant-X-style: aligning EOG, ECG or EMG with EEG over any encoder of the suite."""
