"""Fetching files of PhysioNet, checked against the digests it publishes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from eegfound.datasets.cards import DatasetCard
from eegfound.datasets.locate import cache_folder, not_found

_LINE = re.compile(r"^([0-9a-f]{64})\s+\*?(?:\./)?(\S.*)$")


def read_sha256sums(text: str) -> dict[str, str]:
    """Read ``SHA256SUMS.txt``: file name to digest.

    Parameters
    ----------
    text : str
        Lines of a digest and a name.

    Returns
    -------
    dict of str to str
        Name to ``sha256:<digest>``, as pooch wants it.
    """
    matches = (_LINE.match(line.strip()) for line in text.splitlines())
    return {m.group(2): f"sha256:{m.group(1)}" for m in matches if m}


def fetch_physionet(
    card: DatasetCard, base_url: str, names: Sequence[str], *, progress: bool = False
) -> Path:
    """Download files that are not in the cache yet.

    Parameters
    ----------
    card : DatasetCard
        The dataset.
    base_url : str
        Address of the folder of the release, with a slash at its end.
    names : sequence of str
        Files below ``base_url``; those the release does not list are skipped.
    progress : bool
        True shows a bar per file.

    Returns
    -------
    Path
        Folder that holds the files.

    Raises
    ------
    DatasetNotFoundError
        If the network or the publisher cannot be reached, or a digest differs.
    """
    import pooch

    folder = cache_folder(card.name)
    try:
        sums = pooch.retrieve(
            base_url + "SHA256SUMS.txt", known_hash=None, path=folder, fname="SHA256SUMS.txt"
        )
        registry = read_sha256sums(Path(sums).read_text(encoding="utf-8"))
        store = pooch.create(path=folder, base_url=base_url, registry=registry, retry_if_failed=2)
        for name in names:
            if name in registry:
                store.fetch(name, downloader=pooch.HTTPDownloader(progressbar=progress))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError: digest
        raise not_found(card, "local copy", f"download failed: {error}") from error
    return folder
