"""The bundled recordings: what they are, and that they stay what they are."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eegfound.base import ChannelInfo, SpecError, check_unit
from eegfound.datasets import load_sample, sample
from eegfound.datasets.sample import decode_windows, encode_windows

DATA = pathlib.Path(sample.__file__).parent / "data"


@pytest.fixture(scope="module")
def loaded():
    return load_sample()


def test_shapes_and_types(loaded):
    X, y, groups, info = loaded
    assert X.shape == (672, 19, 800)
    assert X.dtype == np.float32
    assert isinstance(info, ChannelInfo)
    assert info.sfreq == 200.0
    assert info.n_channels == 19
    assert y.dtype.kind == "U"
    assert len(set(groups.tolist())) == 28


def test_every_person_has_both_classes_equally_often(loaded):
    _, y, groups, _ = loaded
    for subject in np.unique(groups):
        labels, counts = np.unique(y[groups == subject], return_counts=True)
        assert labels.tolist() == ["arithmetic", "rest"]
        assert counts.tolist() == [12, 12]


def test_order_is_subject_then_rest_before_arithmetic(loaded):
    _, y, groups, _ = loaded
    assert (np.diff(groups) >= 0).all()
    assert y[:24].tolist() == ["rest"] * 12 + ["arithmetic"] * 12


def test_amplitudes_are_eeg_in_volts(loaded):
    X = loaded[0]
    assert check_unit(X, "V") == 1.0
    assert 3e-6 < np.median(np.abs(X)) < 3e-5


def test_alpha_rhythm_is_stronger_over_the_back_of_the_head_at_rest(loaded):
    """Physiology, not format: resting EEG has a 10 Hz peak that grows towards the occiput."""
    from scipy.signal import welch

    X, y, _, info = loaded
    frequencies, power = welch(X[y == "rest"], fs=info.sfreq, nperseg=400)
    alpha = (frequencies >= 8) & (frequencies <= 12)
    broad = (frequencies >= 2) & (frequencies <= 30)
    share = power[..., alpha].sum(-1) / power[..., broad].sum(-1)
    share = dict(zip(info.ch_names, np.median(share, axis=0)))
    assert share["O1"] > share["Fp1"]
    assert share["O2"] > share["Fp2"]


def test_units_differ_by_their_factor():
    volts = load_sample(subjects=[5])[0]
    microvolts = load_sample(subjects=[5], unit="uV")[0]
    np.testing.assert_allclose(microvolts, volts * 1e6, rtol=1e-6)
    steps = microvolts / 0.25
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_subjects_are_a_part_of_the_whole(loaded):
    X, _, groups, _ = loaded
    some = load_sample(subjects=[3, 27])
    np.testing.assert_array_equal(some[0], X[np.isin(groups, [3, 27])])
    with pytest.raises(SpecError, match="28"):
        load_sample(subjects=[0, 28])
    with pytest.raises(SpecError, match="unit='eV'"):
        load_sample(unit="eV")


def test_loading_is_fast_and_repeatable(loaded):
    begin = time.perf_counter()
    again = load_sample()
    assert time.perf_counter() - begin < 2.0  # 0.3 s on an idle machine
    for one, other in zip(again[:3], loaded[:3]):
        np.testing.assert_array_equal(one, other)


def test_file_is_small_and_has_its_attribution():
    assert (DATA / sample.FILE).stat().st_size < 12e6
    notice = (DATA / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for word in ("ODC-BY 1.0", "Zyma", "Goldberger", "PhysioNet"):
        assert word in notice


def test_a_damaged_file_is_refused(monkeypatch):
    monkeypatch.setattr(sample, "SHA256", "0" * 64)
    with pytest.raises(SpecError, match="damaged"):
        load_sample()


def test_importing_datasets_loads_neither_torch_nor_mne():
    code = "import sys, eegfound.datasets as d; d.load_sample(subjects=[0]); " \
        "sys.exit('torch' in sys.modules or 'mne' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9), elements=st.integers(
        -32768, 32767))
)  # fmt: skip
def test_coding_is_exact_for_any_signal(codes):
    np.testing.assert_array_equal(decode_windows(encode_windows(codes)), codes)


@pytest.mark.skipif("EEGFOUND_DATA" not in os.environ, reason="EEGFOUND_DATA is not set")
def test_script_builds_the_same_signals(tmp_path, loaded):
    script = pathlib.Path(__file__).parents[1] / "scripts" / "build_sample.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "again.npz")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    with np.load(DATA / sample.FILE) as archive:
        codes = decode_windows(archive["planes"])
    assert hashlib.sha256(codes.tobytes()).hexdigest() in done.stdout
