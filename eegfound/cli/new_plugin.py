"""``eegfound new-plugin``: a complete plugin to start from."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from eegfound.base import SpecError
from eegfound.cli._output import say

#: Where each template goes; ``{name}`` is the model's name in Python.
PLACES = {
    "pyproject.toml.txt": "pyproject.toml",
    "__init__.py.txt": "eegfound_{name}/__init__.py",
    "plugin.py.txt": "eegfound_{name}/plugin.py",
    "network.py.txt": "eegfound_{name}/network.py",
    "test.py.txt": "tests/test_{name}.py",
}


def new_plugin(
    name: Annotated[str, typer.Argument(help="Name of the model, for instance mymodel.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to write; eegfound-NAME by default.")
    ] = None,
) -> None:
    """Write a small working plugin (network, objective, test) to change into yours."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise SpecError(
            f"name={name!r}: use lower-case letters, digits and single hyphens, starting with a "
            "letter, such as 'mymodel'."
        )
    from eegfound.models import list_models

    if name in list_models():
        raise SpecError(f"name={name!r} is an installed model: choose another name.")
    target = folder or Path(f"eegfound-{name}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SpecError(f"{target} is there already and not empty: choose another --folder.")
    module = name.replace("-", "_")
    replacements = {
        "eegfound_tinymae": f"eegfound_{module}",
        "test_tinymae": f"test_{module}",
        "TinyMAE": "".join(part.capitalize() for part in name.split("-")),
        "tinymae": name,
    }
    if name == "tinymae":  # the example keeps its own spelling
        replacements = {}
    templates = files("eegfound.cli") / "data" / "new_plugin"
    for source, place in PLACES.items():
        text = (templates / source).read_text(encoding="utf-8")
        for old, new in replacements.items():
            text = text.replace(old, new)
        path = target / place.format(name=module)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    say(
        f"{target} holds a plugin that works: pip install -e {target}, then eegfound info {name} "
        f"and pytest {target}. Change plugin.py (what the model takes) and network.py into yours."
    )
