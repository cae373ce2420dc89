"""Where weights are found: path, environment, plugin, cache, download."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eegfound.base import CheckpointError, CheckpointNotFoundError, SpecError
from eegfound.models.files import check_sha256, read_metadata, sha256_of
from eegfound.models.spec import Checkpoint, FoundationModel

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


@dataclass(frozen=True)
class CheckpointFile:
    """A weight file on this machine and what is known about it.

    Attributes
    ----------
    path : Path
        The file.
    spec : Checkpoint | None
        The plugin's declaration that says how to read it; None for files in
        the suite's own format.
    size : str
        Named size of the network.
    sha256 : str
        Digest of the file.
    metadata : dict
        What a file in the suite's own format says about itself.
    published : str | None
        Name of the known checkpoint, where the file was found as that one;
        None for any other file, even of the same layout.
    """

    path: Path
    spec: Checkpoint | None
    size: str
    sha256: str
    metadata: dict[str, Any]
    published: str | None = None


def cache_dir() -> Path:
    """Return where downloads are kept (``EEGFOUND_CACHE`` overrides)."""
    if os.environ.get("EEGFOUND_CACHE"):
        return Path(os.environ["EEGFOUND_CACHE"]).expanduser()
    import pooch

    return Path(pooch.os_cache("eegfound"))


def is_offline() -> bool:
    """Say whether downloads are switched off (``EEGFOUND_OFFLINE=1``)."""
    return os.environ.get("EEGFOUND_OFFLINE", "").lower() in {"1", "true", "yes"}


def packaged_path(checkpoint: Checkpoint) -> Path | None:
    """Return the file that ships with the plugin, if it does."""
    if not checkpoint.packaged:
        return None
    from importlib.resources import files

    package, _, name = checkpoint.packaged.partition(":")
    path = Path(str(files(package).joinpath(name)))
    return path if path.is_file() else None


def _local_places(model: FoundationModel, checkpoint: Checkpoint) -> list[Path]:
    places = []
    for folder in filter(None, os.environ.get("EEGFOUND_WEIGHTS", "").split(os.pathsep)):
        base = Path(folder).expanduser()
        if base.is_file() and base.name == checkpoint.filename:
            places.append(base)
        places += [base / checkpoint.filename, base / model.name / checkpoint.filename]
    return places


def find_checkpoint(
    model: FoundationModel,
    checkpoint: str | os.PathLike[str] = "default",
    *,
    size: str | None = None,
) -> CheckpointFile:
    """Find a weight file, downloading it where that is possible.

    The order is: explicit path, folders of ``EEGFOUND_WEIGHTS``, the plugin's
    own files, the cache, download.

    Parameters
    ----------
    model : FoundationModel
        The model.
    checkpoint : str | path-like
        ``"default"``, the name of a known checkpoint, or a path.
    size : str | None
        Named size asked for; None takes the checkpoint's.

    Returns
    -------
    CheckpointFile
        The file, checked against its digest.

    Raises
    ------
    CheckpointNotFoundError
        If it is nowhere; the message says where it can be had.
    CheckpointError
        If the file is not the published one.
    SpecError
        If no such checkpoint is declared for the size.
    """
    if _is_path(checkpoint, model):
        return _explicit(model, Path(checkpoint).expanduser(), size)
    spec = _declared(model, str(checkpoint), size)
    tried: list[Path] = []
    cached = cache_dir() / "weights" / model.name / spec.filename
    for path in (*_local_places(model, spec), packaged_path(spec), cached):
        if path is None or (not spec.filename and path == cached):
            continue
        tried.append(path)
        if path.is_file():
            digest = check_sha256(path, spec.sha256)
            return CheckpointFile(path, spec, spec.size, digest, read_metadata(path), spec.name)
    if spec.urls and not is_offline():
        path = _download(spec, cached)
        digest = sha256_of(path)
        return CheckpointFile(path, spec, spec.size, digest, read_metadata(path), spec.name)
    why = "downloads are switched off" if spec.urls else "nobody offers them for download"
    raise CheckpointNotFoundError(_not_found(model, spec, tried, why))


def _is_path(checkpoint: str | os.PathLike[str], model: FoundationModel) -> bool:
    if isinstance(checkpoint, os.PathLike):
        return True
    if checkpoint == "default" or any(checkpoint == c.name for c in model.checkpoints):
        return False
    return (
        os.sep in checkpoint
        or checkpoint.endswith(_SUFFIXES)
        or Path(checkpoint).expanduser().is_file()
    )


def _explicit(model: FoundationModel, path: Path, size: str | None) -> CheckpointFile:
    path = path.resolve()  # a pickle must find it from any working directory
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointNotFoundError(
            f"checkpoint={str(path)!r} {fault}. Pass the path of a weight file, a name "
            f"({[c.name for c in model.checkpoints]}), or checkpoint=None for random weights."
        )
    metadata = read_metadata(path)
    if metadata:
        if metadata.get("model") != model.name:
            raise CheckpointError(
                f"{path} holds weights of {metadata.get('model')!r}, not of {model.name!r}."
            )
        stored = metadata.get("size", model.default_size)
        if size is not None and size != stored:
            raise CheckpointError(
                f"{path} holds size {stored!r} but size={size!r} was asked for: "
                f"pass size={stored!r} or leave size out."
            )
        return CheckpointFile(path, None, stored, sha256_of(path), metadata)
    named = [c for c in model.checkpoints if c.filename == path.name]
    fitting = [c for c in model.checkpoints if size in (None, c.size) and c.converter]
    convertible = [c for c in model.checkpoints if c.converter]
    spec = next(iter(named or fitting or convertible), None)
    digest = check_sha256(path, spec.sha256) if spec and named else sha256_of(path)
    size = size or (spec.size if spec else model.default_size)
    published = named[0].name if named and size == named[0].size else None
    return CheckpointFile(path, spec, size, digest, {}, published)


def _declared(model: FoundationModel, name: str, size: str | None) -> Checkpoint:
    if name != "default":
        spec = model.checkpoint(name)
        if size is not None and size != spec.size:
            raise SpecError(
                f"checkpoint={name!r} is of size {spec.size!r}, not size={size!r}: "
                "leave size out or pass checkpoint=None for random weights of that size."
            )
        return spec
    for spec in model.checkpoints:
        if size in (None, spec.size):
            return spec
    raise CheckpointNotFoundError(
        f"No weights are published for {model.name}"
        + (f" of size {size!r}" if size else "")
        + f"; known checkpoints: {[f'{c.name} (size {c.size})' for c in model.checkpoints]}. Pass "
        "checkpoint='path/to/your/file', another size, or checkpoint=None for random weights."
    )


def _not_found(model: FoundationModel, spec: Checkpoint, tried: list[Path], why: str) -> str:
    return (
        f"The weights {spec.name!r} of {model.name} are not on this machine ({why}; looked for "
        f"{', '.join(map(str, tried))}). "
        f"{spec.how_to_get} "
        + (f"Addresses: {', '.join(spec.urls)}. " if spec.urls else "")
        + f"Then pass checkpoint='path/to/{spec.filename}', or put the file into a folder named by "
        "the environment variable EEGFOUND_WEIGHTS, or pass checkpoint=None for random weights."
    )


def _download(spec: Checkpoint, target: Path) -> Path:
    import pooch

    failures = []
    for url in spec.urls:
        try:
            got = pooch.retrieve(
                url,
                known_hash=f"sha256:{spec.sha256}" if spec.sha256 else None,
                fname=target.name,
                path=target.parent,
                progressbar=False,
            )
        except Exception as error:  # pooch passes on whatever its HTTP library raises
            text = " ".join(str(error).split())[:200]
            failures.append(f"{url}: {type(error).__name__}: {text}")
        else:
            return Path(got)
    raise CheckpointNotFoundError(
        f"The weights {spec.name!r} could not be downloaded ({'; '.join(failures)}). "
        f"{spec.how_to_get} Fetch the file by hand and pass checkpoint='path/to/{spec.filename}', "
        "put it into a folder named by EEGFOUND_WEIGHTS, or pass checkpoint=None for random "
        "weights."
    )
