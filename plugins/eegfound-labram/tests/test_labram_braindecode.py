"""The same numbers as braindecode's LaBraM with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import eegfound as ef

MOTOR = tuple(
    [
        "Fz",
        "FC3",
        "FC1",
        "FCz",
        "FC2",
        "FC4",
        "C5",
        "C3",
        "C1",
        "Cz",
        "C2",
        "C4",
        "C6",
        "CP3",
        "CP1",
        "CPz",
        "CP2",
        "CP4",
        "P1",
        "Pz",
        "P2",
        "POz",
    ]
)


@pytest.mark.parametrize(
    ("names", "seconds"), [(MOTOR, 4), (("T3", "O1", "M2"), 2), (("CZ",), 1), (MOTOR[:9], 15)]
)
def test_same_numbers_as_braindecode(peers, names, seconds):
    try:
        peers.import_braindecode_labram()
    except ImportError as error:
        pytest.skip(f"braindecode cannot be imported: {error}")
    rng = np.random.default_rng(0)
    X = 1e-5 * rng.standard_normal((3, len(names), 200 * seconds))
    enc = ef.make_transformer(
        "labram", checkpoint=None, info=ef.ChannelInfo(names, 200), random_state=1
    ).fit(X)
    theirs = peers.braindecode_labram(
        enc.encoder_.network, [name.upper() for name in names], 200 * seconds
    )
    with torch.inference_mode():
        expected = theirs(
            torch.from_numpy(X * 1e4).float(), ch_names=[name.upper() for name in names]
        )
    ours = enc.transform(X)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)
    # The comparison is live: another order of names gives other numbers.
    if len(names) > 1:
        with torch.inference_mode():
            other = theirs(
                torch.from_numpy(X * 1e4).float(), ch_names=[n.upper() for n in names[::-1]]
            )
        assert np.abs(ours - other.numpy()).max() > 1e-4
