"""``eegfound embed``: folders of recordings to a table of embeddings."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.cli._output import errors, say


def embed(
    files: Annotated[list[Path], typer.Argument(help="Recordings, or folders of recordings.")],
    model: Annotated[str, typer.Option(help="Name of a model.")],
    out: Annotated[Path, typer.Option(help="Table to write (.parquet or .csv).")],
    window: Annotated[float, typer.Option(help="Length of the windows in seconds.")] = 4.0,
    step: Annotated[float | None, typer.Option(help="Hop in seconds (default: window).")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="Name or path of the weights; 'none' for random weights.")
    ] = "default",
    size: Annotated[str | None, typer.Option(help="Named size.")] = None,
    pooling: Annotated[str | None, typer.Option(help="Read-out.")] = None,
    on_unknown: Annotated[str, typer.Option(help="Unknown channels: drop or raise.")] = "drop",
    line_freq: Annotated[
        float | None, typer.Option(help="Mains frequency in Hz (default: the model's).")
    ] = None,
    no_filter: Annotated[
        bool, typer.Option("--no-filter", help="Take signals as they are.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="Precision of the network.")] = "float32",
    cache: Annotated[
        str | None,
        typer.Option(help="Keep embeddings in this folder ('default': that of cache=True)."),
    ] = None,
) -> None:
    """Embed every window of every recording.

    Files that cannot be embedded are named and skipped. Finished files are
    kept beside the output: an interrupted run goes on where it stopped.
    """
    from rich.progress import Progress

    from eegfound.base import SpecError
    from eegfound.estimators import make_transformer
    from eegfound.models import get_model
    from eegfound.models.store import find_checkpoint
    from eegfound.preprocessing import find_recordings

    if out.suffix not in (".parquet", ".csv"):
        raise SpecError(f"--out {out}: choose a name ending in .parquet or .csv.")
    recordings = find_recordings(files)
    cut = {"window": window, "step": step, "filtered": not no_filter, "line_freq": line_freq}
    encoder = make_transformer(
        model, size=size, checkpoint=None if checkpoint == "none" else checkpoint,
        pooling=pooling, on_unknown=on_unknown, dtype=dtype,
    )  # fmt: skip
    weights = "random"
    if encoder.checkpoint is not None:
        weights = find_checkpoint(get_model(model), encoder.checkpoint, size=size).sha256
    parts = out.with_name(out.name + ".parts")
    parts.mkdir(parents=True, exist_ok=True)
    done, failed = [], []
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("embedding", total=len(recordings))
        for recording in recordings:
            progress.update(task, description=recording.name)
            part = parts / f"{_digest(recording, encoder, weights, cut)}.parquet"
            if not part.exists():
                try:
                    _embed_one(recording, encoder, cut, part, True if cache == "default" else cache)
                except (SpecError, ValueError) as error:
                    failed.append(recording)
                    say(f"skipped {recording}: {error}", to=errors)
                    progress.advance(task)
                    continue
            done.append(part)
            progress.advance(task)
    if not done:
        say(f"None of {len(recordings)} recording(s) could be embedded.", to=errors)
        raise typer.Exit(1)
    n_rows = _join(done, out)
    for part in parts.glob("*"):
        part.unlink()
    parts.rmdir()
    say(
        f"{n_rows} windows of {len(done)} recording(s) in {out}"
        + (f"; {len(failed)} skipped" if failed else "")
    )
    if failed:
        raise typer.Exit(1)


def _digest(recording: Path, encoder: Any, weights: str, cut: dict[str, Any]) -> str:
    """Name a part by all that its content depends on."""
    stat = recording.stat()
    facts = [str(recording.resolve()), stat.st_size, stat.st_mtime_ns, repr(encoder), weights, cut]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _embed_one(recording: Path, encoder: Any, cut: dict[str, Any], part: Path, cache: Any) -> None:
    import numpy as np
    import pandas as pd
    from sklearn.base import clone

    from eegfound.preprocessing import read_recording, recording_windows

    windows, info = recording_windows(
        read_recording(recording), encoder.model or encoder.default_model, **cut
    )
    fitted = clone(encoder).set_params(info=info, cache=cache).fit(windows.data)
    table = pd.DataFrame(fitted.transform(windows.data), columns=fitted.get_feature_names_out())
    table.insert(0, "file", str(recording))
    table.insert(1, "window", np.arange(len(table)))
    table.insert(2, "onset", windows.onset)
    unfinished = part.with_suffix(f".{os.getpid()}.tmp")
    table.to_parquet(unfinished, index=False)
    os.replace(unfinished, part)


def _join(parts: list[Path], out: Path) -> int:
    """Write the parts as one table without holding them all in memory."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    # Caps may differ in columns (pooling="channels"): what a cap lacks stays empty.
    schema = pyarrow.unify_schemas([pq.read_schema(part).remove_metadata() for part in parts])
    n_rows = 0
    open_writer: Any = pq.ParquetWriter if out.suffix == ".parquet" else pyarrow.csv.CSVWriter
    with open_writer(unfinished, schema) as writer:
        for part in parts:
            table = pq.read_table(part).replace_schema_metadata(None)
            whole = [schema.empty_table(), table]
            writer.write_table(pyarrow.concat_tables(whole, promote_options="default"))
            n_rows += table.num_rows
    os.replace(unfinished, out)
    return n_rows
