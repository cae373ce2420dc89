"""The commands by name."""

from __future__ import annotations

import typer

from eegfound.cli import (
    benchmark,
    cache,
    conformance,
    doctor,
    embed,
    listing,
    new_plugin,
    prepare,
    pretrain,
    tune,
)

app = typer.Typer(
    name="eegfound",
    help="EEG foundation models as scikit-learn estimators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("models")(listing.models)
app.command("info")(listing.info)
app.command("plugins")(listing.plugins)
app.command("doctor")(doctor.doctor)
app.command("embed")(embed.embed)
app.command("benchmark")(benchmark.benchmark)
app.command("tune")(tune.tune)
app.command("prepare")(prepare.prepare)
app.command("pretrain")(pretrain.pretrain)
app.command("conformance")(conformance.conformance)
app.command("new-plugin")(new_plugin.new_plugin)
app.add_typer(cache.app, name="cache")
