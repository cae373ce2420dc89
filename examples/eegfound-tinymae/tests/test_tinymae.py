from eegfound.testing import check_model


def test_tinymae_conforms():
    check_model("tinymae")
