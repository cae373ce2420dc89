"""What became of every file, line by line: what a killed preparation goes on from.

One line of JSON is appended when a file is done. Half a line, left by a kill,
is cut off. The index (Parquet) is made from it and is what readers open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eegfound.corpus.errors import CorpusError, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOURNAL = "journal.jsonl"
INDEX = "index.parquet"
FAILURES = "failures.parquet"
HEADER = "corpus.json"
SHARDS = "shards"
#: Version of the layout of a store.
FORMAT = 1

_INTERVALS = pa.list_(pa.list_(pa.int64()))
INDEX_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()), ("subject", pa.string()), ("recording", pa.string()),
        ("shard", pa.string()), ("bytes", pa.int64()), ("content", pa.string()),
        ("sfreq", pa.float64()), ("original_sfreq", pa.float64()), ("n_times", pa.int64()),
        ("ch_names", pa.list_(pa.string())), ("seconds", pa.float64()),
        ("usable_seconds", pa.float64()), ("rejected", _INTERVALS),
        ("left_out", pa.list_(pa.list_(pa.string()))), ("file", pa.string()),
        ("also_known_as", pa.list_(pa.string())),
        ("also_in", pa.list_(pa.string())), ("sha256", pa.string()),
        ("unit", pa.string()), ("licence", pa.string()), ("citation", pa.list_(pa.string())),
        ("settings", pa.string()), ("notes", pa.list_(pa.string())),
    ]
)  # fmt: skip
FAILURES_SCHEMA = pa.schema(
    [("file", pa.string()), ("dataset", pa.string()), ("reason", pa.string())]
)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the store for this process; the kernel frees it when the process dies.

    Raises
    ------
    CorpusError
        If another process prepares it right now.
    """
    with writing(out, "a lock"):
        out.mkdir(parents=True, exist_ok=True)
        place = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CorpusError(
                    f"out={str(out)!r} is being prepared by another process: wait for it, or "
                    "name another folder."
                ) from error
        yield
    finally:
        os.close(place)


class Journal:
    """The lines of a store, newest word first to count.

    Parameters
    ----------
    out : Path
        The store.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out / JOURNAL
        self.files: dict[str, dict[str, Any]] = {}
        self._check_header()
        self._read()

    def _check_header(self) -> None:
        header = self._out / HEADER
        if header.exists():
            found = read_header(self._out)
            if found.get("format") != FORMAT:
                raise CorpusError(
                    f"{self._out} has format {found.get('format')!r} of a store; this version "
                    f"writes {FORMAT}: name another folder."
                )
            return
        strangers = [
            p.name for p in self._out.iterdir() if p.name != ".lock" and p.suffix != ".tmp"
        ]
        if strangers:
            raise CorpusError(
                f"out={str(self._out)!r} is no store and not empty ({strangers[0]}, …): name "
                "another folder."
            )
        from eegfound import __version__

        facts = {"what": "eegfound corpus", "format": FORMAT, "made_by": __version__}
        replace_file(header, (json.dumps(facts, indent=1) + "\n").encode(), self._out)

    def _read(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with writing(self._out, "the journal"), open(self._path, "rb+") as file:
                file.truncate(whole)
        for line in content[:whole].splitlines():
            try:
                entry = json.loads(line)
                self.files[entry["key"]] = entry
            except (ValueError, KeyError, TypeError) as error:
                raise CorpusError(f"{self._path} is damaged: {error}") from error

    def add(self, entry: dict[str, Any]) -> None:
        """Write what became of a file, for good."""
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        with writing(self._out, "the journal"), open(self._path, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.files[entry["key"]] = entry

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return entries of ``"recording"``, ``"duplicate"`` or ``"failure"``, by file."""
        return sorted(
            (e for e in self.files.values() if e["kind"] == kind), key=lambda e: str(e["file"])
        )

    def write_index(self) -> None:
        """Make the tables that readers open."""
        copies: dict[str, list[str]] = {}
        people: dict[str, list[str]] = {}
        for entry in self.of_kind("duplicate"):
            copies.setdefault(entry["of"], []).append(entry["file"])
            people.setdefault(entry["of"], []).append(f"{entry['dataset']}/{entry['subject']}")
        rows = [
            {name: entry.get(name) for name in INDEX_SCHEMA.names}
            | {
                "also_known_as": copies.get(entry["recording"], []),
                "also_in": people.get(entry["recording"], []),
            }
            for entry in sorted(
                self.of_kind("recording"), key=lambda e: (e["dataset"], e["recording"])
            )
        ]
        failures = [
            {name: e.get(name) for name in FAILURES_SCHEMA.names} for e in self.of_kind("failure")
        ]
        write_table(self._out / INDEX, rows, INDEX_SCHEMA, self._out)
        write_table(self._out / FAILURES, failures, FAILURES_SCHEMA, self._out)


def read_header(out: Path) -> dict[str, Any]:
    """Return what a store says of itself; empty if it is none."""
    try:
        found = json.loads((out / HEADER).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("what") == "eegfound corpus" else {}


def replace_file(path: Path, content: bytes, out: Path) -> None:
    """Write a file in one go: readers see the old one or the new one."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with writing(out, path.name):
            with open(unfinished, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema, out: Path) -> None:
    """Write rows as a Parquet file in one go."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    replace_file(path, sink.getvalue().to_pybytes(), out)
