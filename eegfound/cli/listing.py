"""What is installed: ``eegfound models``, ``info`` and ``plugins``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from eegfound.cli._output import print_json, print_table, say
from eegfound.models import FoundationModel, PretrainingStage, registry

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def models(as_json: Json = False) -> None:
    """List the installed models."""
    found = registry.models()
    if as_json:
        print_json([_brief(model) for model in found.values()])
        return
    if not found:
        say("No model is installed: pip install eegfound-NAME, one plugin per model.")
    else:
        print_table(
            "Models",
            ("name", "sizes", "rate", "electrodes", "checkpoints", "summary"),
            [
                (
                    model.name,
                    ", ".join(model.sizes),
                    f"{model.input.sfreq:g} Hz",
                    len(model.input.vocabulary) if model.input.vocabulary else "any",
                    ", ".join(c.name for c in model.checkpoints) or "none",
                    model.summary,
                )
                for model in found.values()
            ],
        )
    broken = [r for r in registry.records() if r.status == "broken"]
    if broken:
        say(f"{len(broken)} plugin(s) did not load: see `eegfound plugins`.")


def _brief(model: FoundationModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "aliases": model.aliases,
        "summary": model.summary,
        "sizes": list(model.sizes),
        "default_size": model.default_size,
        "sfreq": model.input.sfreq,
        "n_electrodes": len(model.input.vocabulary) if model.input.vocabulary else None,
        "checkpoints": [c.name for c in model.checkpoints],
        "licence": model.licence,
    }


def info(
    model: Annotated[str, typer.Argument(help="Name of a model.")], as_json: Json = False
) -> None:
    """Show a model's input contract, sizes and checkpoints."""
    found = registry.get(model)
    if as_json:
        facts = asdict(found)
        facts["sizes"] = {name: dict(config) for name, config in found.sizes.items()}
        print_json(facts)
        return
    spec = found.input
    say(f"{found.name} — {found.summary}")
    rows = [
        ("citation", found.citation),
        ("licence", found.licence),
        ("url", found.url),
        ("rate", f"{spec.sfreq:g} Hz"),
        (
            "unit of the network",
            f"{spec.unit} × {spec.scale:g} (arrays are given in volts or unit=)",
        ),
        ("patch", f"{spec.patch_samples / spec.sfreq:g} s, hop {spec.stride / spec.sfreq:g} s"),
        ("one pass", _lengths(found)),
        ("band of the training data", f"{spec.band[0]:g}-{spec.band[1]:g} Hz" if spec.band else ""),
        ("reference", spec.reference),
        ("electrodes", _electrodes(found)),
        ("read-outs", ", ".join(found.poolings)),
        *(
            (f"recipe {name}", ", ".join(f"{key}={value!r}" for key, value in recipe.items()))
            for name, recipe in found.recipes.items()
        ),
        *((f"pretraining stage {stage.name}", _stage(stage)) for stage in found.stages),
        ("sizes", "; ".join(f"{n}: {dict(c)}" for n, c in found.sizes.items())),
        *((f"note {i + 1}", note) for i, note in enumerate(found.notes)),
    ]
    print_table("Contract", ("", ""), [row for row in rows if row[1]])
    print_table(
        "Checkpoints",
        ("name", "size", "licence", "sha256", "pretrained on", "where"),
        [
            (
                c.name,
                c.size,
                c.licence,
                c.sha256 or "not published",
                ", ".join(c.pretraining_datasets),
                ("the default; " if i == 0 else "")
                + ("in the plugin" if c.packaged else c.how_to_get),
            )
            for i, c in enumerate(found.checkpoints)
        ],
    )


def _stage(stage: PretrainingStage) -> str:
    """Return a stage's summary, and its settings without and with a recipe."""
    settings = {"defaults": stage.defaults, **stage.recipes}
    return "; ".join(
        [stage.summary]
        + [f"{name}: {', '.join(f'{k}={v!r}' for k, v in values.items())}"
           for name, values in settings.items() if values]
    )  # fmt: skip


def _lengths(model: FoundationModel) -> str:
    spec = model.input
    longest = f"{spec.max_samples / spec.sfreq:g} s" if spec.max_samples else "any length"
    rest = " (longer windows are cut and pooled)" if spec.max_samples else ""
    return f"{spec.shortest / spec.sfreq:g} s to {longest}{rest}"


def _electrodes(model: FoundationModel) -> str:
    spec = model.input
    if spec.vocabulary is None:
        return "any"
    kind = "any subset of" if spec.accepts_missing else "all of"
    return f"{kind} {len(spec.vocabulary)}: {' '.join(spec.vocabulary)}"


def plugins(as_json: Json = False) -> None:
    """List the plugins, and why those that did not load did not."""
    records = registry.records()
    if as_json:
        print_json([{k: v for k, v in asdict(r).items() if k != "contributions"} for r in records])
        return
    print_table(
        "Plugins",
        ("plugin", "distribution", "status", "models", "reason"),
        [
            (
                r.name,
                f"{r.distribution} {r.version}".strip(),
                r.status,
                ", ".join(r.models),
                r.reason,
            )
            for r in records
        ],
    )
