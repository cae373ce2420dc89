"""Small recordings of every format, for tests of corpora."""

from __future__ import annotations

import numpy as np

NAMES = ("Fp1", "C3", "Cz", "C4", "O1")


def signals(n_channels=5, seconds=20.0, sfreq=100.0, seed=0):
    """Colored noise the size of EEG, in volts: neighbouring samples are alike."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((n_channels, round(seconds * sfreq)))
    out = np.zeros_like(steps)
    for t in range(steps.shape[1]):
        out[:, t] = 0.9 * out[:, t - 1] + steps[:, t]
    return 5e-6 * out


def raw_of(data, names=NAMES, sfreq=100.0, kinds="eeg", subject=None):
    import mne

    info = mne.create_info(list(names), sfreq, kinds)
    if subject is not None:
        info["subject_info"] = {"his_id": subject}
    return mne.io.RawArray(data, info, verbose="error")


def write_fif(path, data, names=NAMES, sfreq=100.0, **kinds):
    path.parent.mkdir(parents=True, exist_ok=True)
    raw_of(data, names, sfreq, **kinds).save(path, overwrite=True, fmt="single", verbose="error")
    return path


def write_edf(path, data, names=NAMES, sfreq=100.0, dimension="uV"):
    import edfio

    path.parent.mkdir(parents=True, exist_ok=True)
    scale = {"uV": 1e6, "mV": 1e3}[dimension]
    channels = [
        edfio.EdfSignal(scale * row, sfreq, label=name, physical_dimension=dimension)
        for row, name in zip(data, names)
    ]
    edfio.Edf(channels).write(path)
    return path


def write_brainvision(path, data, names=NAMES, sfreq=100.0):
    """Write header and multiplexed int16 data by hand: 0.05 µV per step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.round(data / 5e-8).astype("<i2")
    path.with_suffix(".eeg").write_bytes(codes.T.tobytes())
    channels = "\n".join(f"Ch{i + 1}={name},,0.05,µV" for i, name in enumerate(names))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\nDataFormat=BINARY\n"
        f"DataOrientation=MULTIPLEXED\nNumberOfChannels={len(names)}\n"
        f"SamplingInterval={1e6 / sfreq:g}\n[Binary Infos]\nBinaryFormat=INT_16\n"
        f"[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\n[Marker Infos]\nMk1=New Segment,,1,1,0,20260101000000000000\n",
        encoding="utf-8",
    )
    return path


def write_eeglab(path, data, names=NAMES, sfreq=100.0):
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    places = np.zeros(len(names), dtype=[("labels", object), ("type", object)])
    for i, name in enumerate(names):
        places[i] = (name, "EEG")
    facts = {
        "data": (1e6 * data).astype(np.float32), "srate": sfreq, "nbchan": len(names),
        "pnts": data.shape[1], "trials": 1, "xmin": 0.0, "xmax": (data.shape[1] - 1) / sfreq,
        "setname": "test", "chanlocs": places, "event": [], "epoch": [], "icawinv": [],
        "icaweights": [], "icasphere": [], "subject": "", "comments": "",
    }  # fmt: skip
    savemat(path, {"EEG": facts}, appendmat=False)
    return path


def write_packed(path, data, names=NAMES, sfreq=100.0, subject="7", scale=0.05, **meta):
    """Write what :func:`eegfound.datasets.read_packed` reads; ``data`` in its own unit."""
    import bz2
    import io
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.round(data / scale).astype(np.int32)
    sink = io.BytesIO()
    facts = {"ch_names": list(names), "sfreq": sfreq, "subject": subject} | meta
    np.savez(
        sink, d=np.diff(codes, axis=1, prepend=0), order=1, scale=np.full(len(names), scale),
        offset=np.zeros(len(names)), events=np.zeros((0, 3), int), meta=json.dumps(facts),
    )  # fmt: skip
    path.write_bytes(bz2.compress(sink.getvalue()))
    return path
