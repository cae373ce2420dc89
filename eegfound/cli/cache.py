"""``eegfound cache``: what is kept of embeddings, emptying it, checking it."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from eegfound.cli._output import errors, print_json, print_table, say

app = typer.Typer(
    help="Embeddings kept on disk: look, empty, check.", no_args_is_help=True, add_completion=False
)
Place = Annotated[
    Path | None, typer.Argument(help="Folder of the cache (default: that of cache=True).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
_DAYS = {"": 1.0, "d": 1.0, "h": 1 / 24, "w": 7.0}


@app.command("info")
def info(place: Place = None, as_json: Json = False) -> None:
    """Show where embeddings are kept, how many, of which encoders."""
    from eegfound.cache import cache_info

    found = cache_info(place or True)
    if as_json:
        print_json(asdict(found))
        return
    rows: list[tuple[str, Any]] = [
        ("place", found.place),
        ("embeddings", found.entries),
        ("on disk", _size(found.bytes)),
        ("bound", f"{_size(found.bound)} (EEGFOUND_CACHE_SIZE)"),
    ]
    if found.claims:
        rows.append(("being computed", found.claims))
    rows += [("damaged, set aside", path) for path in found.set_aside]
    print_table("Embedding cache", ("", ""), rows)
    if found.sources:
        print_table(
            "Encoders",
            ("model", "weights", "read-out", "input", "dtype", "embeddings", "encoded", "found"),
            [_source(facts) for facts in found.sources],
        )


def _source(facts: dict[str, Any]) -> tuple[Any, ...]:
    layer = facts.get("layer")
    reading = facts.get("reading", "pooled")
    return (
        " ".join(str(facts[key]) for key in ("model", "size") if facts.get(key)),
        f"{facts.get('weights', '')} {str(facts.get('fingerprint', ''))[:8]}".strip(),
        " ".join(
            [str(facts.get("pooling", ""))]
            + ([f"layer {layer}"] if layer is not None else [])
            + ([str(reading)] if reading != "pooled" else [])
        ),
        f"{facts['n_channels']} × {facts['n_times']} at {facts['sfreq']:g} Hz"
        if {"n_channels", "n_times", "sfreq"} <= set(facts)
        else "",
        str(facts.get("dtype", "")).partition("/")[0],
        facts.get("entries", 0),
        facts.get("encoded", ""),
        facts.get("hits", ""),
    )


def _size(n_bytes: float) -> str:
    unit = "B"
    for larger in ("kB", "MB", "GB"):
        if n_bytes < 1000:
            break
        n_bytes, unit = n_bytes / 1000, larger
    return f"{n_bytes:.3g} {unit}"


@app.command("clear")
def clear(
    place: Place = None,
    model: Annotated[str | None, typer.Option(help="Only embeddings of this model.")] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only what was not used for so long: 30d, 12h, 2w.")
    ] = None,
) -> None:
    """Delete embeddings. Processes that use the cache just compute them again."""
    from eegfound.cache import clear_cache

    count = clear_cache(
        place or True, model=model, older_than=None if older_than is None else _days(older_than)
    )
    say(f"{count} embedding(s) deleted.")


def _days(text: str) -> float:
    from eegfound.base import SpecError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([dhw]?)", text.strip())
    if not found:
        raise SpecError(f"--older-than {text}: give a time such as 30d, 12h or 2w.")
    return float(found[1]) * _DAYS[found[2]]


@app.command("verify")
def verify(place: Place = None, as_json: Json = False) -> None:
    """Check every embedding and drop damaged ones; exit code 1 if there were any."""
    import warnings

    from eegfound.cache import CacheWarning, verify_cache

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)  # said below
        found = verify_cache(place or True)
    if as_json:
        print_json(asdict(found))
    else:
        say(f"{found.checked} embedding(s) checked, {found.bad} damaged and dropped.")
    if found.damaged_file:
        say("The file as a whole was damaged: set aside, and begun anew.", to=errors)
    if found.bad or found.damaged_file:
        raise typer.Exit(1)
