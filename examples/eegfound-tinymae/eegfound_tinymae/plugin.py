from eegfound.models import FoundationModel, InputSpec, hookimpl

MODEL = FoundationModel(
    name="tinymae",
    summary="Masked autoencoder of half-second patches, for any electrodes with a position",
    input=InputSpec(
        sfreq=128, patch_samples=64, max_samples=128 * 30, unit="uV", scale=0.01,
        needs_positions=True, band=(0.5, 45), default_channel="Cz",
    ),
    network="eegfound_tinymae.network:TinyMAE",
    sizes={"small": {"width": 64, "depth": 2}, "medium": {"width": 128, "depth": 4}},
    default_size="small",
    poolings=("mean", "max", "mean_std", "channels", "flatten"),  # it has no class token
    objective="eegfound_tinymae.network:MaskedPatches",
    golden="eegfound_tinymae.network:reproduce",
    licence="BSD-3-Clause",
)  # fmt: skip


@hookimpl
def eegfound_models():
    return [MODEL]
