"""The FoME-style model passes the kit; nothing claims to be what it is not."""

import subprocess
import sys

import pytest

from eegfound.base import CheckpointNotFoundError
from eegfound.models import get_model
from eegfound.models.loading import load_encoder
from eegfound.testing import check_model


def test_fome_style_conforms():
    assert len(check_model("fome-style", size="tiny", scikit_learn=False)) > 15


@pytest.mark.slow
def test_fome_style_passes_scikit_learns_checks_too():
    assert len(check_model("fome-style", size="tiny")) > 150


def test_weights_are_never_silently_random():
    with pytest.raises(CheckpointNotFoundError, match="No weights are published"):
        load_encoder(get_model("fome-style"), size="small")


def test_the_name_and_the_listing_say_whose_design_it_is():
    model = get_model("fome-style")
    assert model.name.endswith("-style")
    assert "OUR design" in model.summary
    assert [checkpoint.name for checkpoint in model.checkpoints] == ["fome-style-tiny-open"]


def test_declaring_the_model_imports_no_torch():
    code = "import eegfound_architectures.plugin, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
