"""Build the bundled sample of real EEG from a local copy of EEGMAT.

    EEGFOUND_DATA=<folder> python scripts/build_sample.py [OUTPUT]

Choices, none of which looks at the content of the signals:

- subjects 00 to 27, the training part of the published split, so that the
  held-out people stay held out;
- both recordings of each subject, 12 windows of 4 s per recording (balanced
  classes), spread evenly from the first sample to the last, no overlap;
- 19 scalp electrodes, 200 Hz;
- steps of 0.25 µV: the rounding error (0.07 µV) lies far below amplifier noise.

The file is an ordinary ``.npz``. Signals are second differences along time,
split into low and high bytes, which deflate packs well and numpy undoes in
milliseconds. The bytes depend on the version of zlib; the digest of the
decoded arrays does not.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from eegfound.datasets import load_eegmat, published_split
from eegfound.datasets.sample import FILE, decode_windows, encode_windows

STEP = 0.25e-6  # volts


def main(output: Path) -> None:
    """Write the sample and print its digests."""
    X, y, groups, info = load_eegmat(
        published_split("eegmat")["train"],
        window=4.0,
        windows_per_recording=12,
        sfreq=200.0,
        download=False,
    )
    codes = np.round(X / STEP)
    if np.abs(codes).max() > np.iinfo(np.int16).max:
        raise SystemExit("A sample does not fit into 16 bits; choose a larger step.")
    codes = codes.astype(np.int16)
    planes = encode_windows(codes)
    if not np.array_equal(decode_windows(planes), codes):
        raise SystemExit("The round trip changed the signals.")
    np.savez_compressed(
        output,
        planes=planes,
        y=y,
        groups=groups.astype(np.int16),
        ch_names=np.array(info.ch_names),
        sfreq=np.float64(info.sfreq),
        step=np.float64(STEP),
    )
    content = output.read_bytes()
    print(f"{output}: {len(content) / 1e6:.2f} MB, {len(X)} windows, {len(set(groups))} subjects")
    print(f"sha256 of the file    {hashlib.sha256(content).hexdigest()}")
    print(f"sha256 of the signals {hashlib.sha256(codes.tobytes()).hexdigest()}")


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "eegfound" / "datasets" / "data" / FILE
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
