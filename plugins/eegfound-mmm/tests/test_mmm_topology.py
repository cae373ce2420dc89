"""The topology: electrodes, ranks, regions, attention, positions, SEED's tables."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from eegfound_mmm import seed
from eegfound_mmm.positions import POSITIONS, axis_encoding, position_table
from eegfound_mmm.topology import (
    ELECTRODES,
    N_ELECTRODES,
    N_REGIONS,
    REGION_OF,
    VOCABULARY,
    allowed_pairs,
    degrees,
    millimetres,
    ranks,
)

from eegfound.base import SpecError
from eegfound.montage import match_vocabulary, parse_names


def mirrored(name):
    """Return the electrode on the other side of the head."""
    digits = name.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if not digits:
        return name
    stem, number = name.removesuffix(digits), int(digits)
    return f"{stem}{number + 1 if number % 2 else number - 1}"


def test_the_topology_is_symmetric():
    places = {e.name: e for e in ELECTRODES}
    assert len(places) == 62
    for electrode in ELECTRODES:
        other = places[mirrored(electrode.name)]
        assert (other.x, other.y, other.z) == (-electrode.x, electrode.y, electrode.z)


def test_ranks_are_dense_and_regions_are_their_centres():
    table = ranks()
    assert table.shape == (79, 3)
    for axis, (rank, place) in enumerate(zip(table[:62].T, millimetres().T, strict=True)):
        assert set(rank) == set(range([33, 29, 11][axis]))
        order = np.argsort(place, kind="stable")
        assert (np.diff(rank[order]) == (np.diff(place[order]) > 0)).all()
    cz = table[VOCABULARY.index("CZ")]
    np.testing.assert_array_equal(table[62 + 7, :2], cz[:2])  # S8: C1, CZ, C2
    np.testing.assert_allclose(table[62], [16, 26.8, 0.8])  # S1
    assert sorted(set(REGION_OF)) == list(range(N_REGIONS))


def test_every_known_name_is_an_electrode_for_the_suite():
    report = parse_names(VOCABULARY)
    assert all(channel.is_eeg for channel in report.channels)
    rows = match_vocabulary(["T3", "T4", "T5", "T6", "Fp1", "PO3"], VOCABULARY).rows
    assert [VOCABULARY[r] for r in rows] == ["T7", "T8", "P7", "P8", "FP1", "PO3"]


@pytest.mark.parametrize("kind", ["global", "local"])
def test_who_attends_to_whom(kind):
    allowed = allowed_pairs(kind)
    assert (allowed == allowed.T).all()
    assert allowed.sum() == {"global": 4416, "local": 822}[kind]
    f7, f3, f4 = (VOCABULARY.index(name) for name in ("F7", "F3", "F4"))
    s2, s4, cls = 62 + 1, 62 + 3, 79
    assert allowed[f7, f3]
    assert allowed[f7, f4] == (kind == "global")
    assert allowed[f7, s2]
    assert not allowed[f7, s4]
    assert allowed[s2, s4]
    assert allowed[cls].all()


def test_an_unknown_attention_is_refused():
    with pytest.raises(SpecError, match="attention='sparse'"):
        allowed_pairs("sparse")


def test_sines_come_before_cosines():
    table = axis_encoding(np.array([0.0, 3.0]), 8)
    np.testing.assert_array_equal(table[0], [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(table[1, 0], np.sin(3))
    np.testing.assert_allclose(table[1, 5], np.cos(0.3))


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("width", [16, 64])
def test_position_tables(kind, width):
    table = position_table(kind, width)
    assert table.shape == (80, width)
    assert not table[-1].any()  # the class token has no place
    # Every place but the class token's lies on as many unit circles as there are pairs.
    np.testing.assert_allclose((table[:-1] ** 2).sum(axis=1), width / 2)


def test_positions_in_degrees_and_in_three_dimensions():
    np.testing.assert_allclose(
        position_table("sph", 16)[:79, :8], axis_encoding(degrees()[:, 0], 8)
    )
    third = position_table("3d", 18)[:79]
    np.testing.assert_allclose(third[:, 12:], axis_encoding(ranks()[:, 2], 6))


@pytest.mark.parametrize(("kind", "width"), [("2d", 18), ("3d", 4), ("1d", 7), ("4d", 16)])
def test_widths_that_do_not_fit_are_refused(kind, width):
    with pytest.raises(SpecError, match=r"width=|position="):
        position_table(kind, width)


def test_seeds_order_is_the_topologys_in_another_sequence():
    assert sorted(seed.FILE_ORDER) == sorted(VOCABULARY)
    assert [seed.FILE_ORDER[i] for i in seed.REORDER] == list(VOCABULARY)


@pytest.mark.parametrize("kind", ["gaussian", "minmax"])
def test_a_seed_recording_is_split_by_clips_and_normalized_by_the_training_part(rng, kind):
    raw = rng.normal([26, 23, 22, 20, 19], 3, size=(62, 3394, 5))
    split = seed.split_recording(raw, kind)
    assert split.X_train.shape == (2010, N_ELECTRODES, 5)
    assert split.X_test.shape == (1384, N_ELECTRODES, 5)
    assert np.bincount(split.y_train).tolist() == [681, 634, 695]
    assert len(split.y_test) == 1384
    values = split.X_train.reshape(-1, 5)
    if kind == "gaussian":
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-4)
    else:
        np.testing.assert_allclose(values.min(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(values.max(axis=0), 1, atol=1e-6)
    shifted = raw.copy()
    shifted[:, 2010:] += 100  # what is tested shapes no statistic
    np.testing.assert_array_equal(seed.split_recording(shifted, kind).X_train, split.X_train)


def test_what_is_no_seed_recording_is_refused(rng):
    with pytest.raises(SpecError, match=r"\(62, 100, 5\).*de_LDS"):
        seed.split_recording(rng.normal(size=(62, 100, 5)))


def test_the_declaration_imports_no_torch():
    code = "import sys, eegfound_mmm.plugin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
