"""``eegfound conformance``: a model against its golden vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eegfound.cli._output import print_json
from eegfound.cli.listing import Json


def conformance(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    folder: Annotated[Path, typer.Argument(help="Folder of golden vectors.")],
    as_json: Json = False,
) -> None:
    """Reproduce every golden vector in a folder; exit 1 on a miss."""
    import eegfound.testing.golden as golden

    results = golden.run_folder(model, folder)
    if as_json:
        print_json([golden.as_dict(result) for result in results])
    else:
        print(golden.format_results(results))
    raise typer.Exit(golden.exit_code(results))
