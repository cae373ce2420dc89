"""A pretraining from data to files: what the command line does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from eegfound.base import SpecError
from eegfound.pretraining.report import Drawing, Reached, reached, write_report

#: Windows that are drawn, and those whose codes are counted.
N_DRAWN, N_COUNTED = 3, 64
#: Parameters that may change when a training goes on.
_MAY_CHANGE = frozenset({"device", "n_workers", "n_threads", "save_every", "verbose"})
#: What ``run.json`` calls the digest of the data.
DIGEST = "digest"
METRICS, STATE, RUN, REPORT = "metrics.jsonl", "state", "run.json", "report.html"


@dataclass(frozen=True)
class TrainingData:
    """Windows, or a prepared corpus, for ``fit``.

    Attributes
    ----------
    X : ndarray or Corpus
        What is trained on.
    groups : ndarray | None
        Subjects of an array; a corpus knows its own.
    info : ChannelInfo | None
        Channels of an array.
    name : str
        As the user named it.
    terms : mapping
        What is known of a dataset: ``name``, ``licence``, ``citation``.
    excluded : tuple of str
        Subjects that are not in ``X``.
    """

    X: Any
    groups: np.ndarray | None
    info: Any
    name: str
    terms: Mapping[str, Any]
    excluded: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return what tells these data from others: signals, subjects, rejected stretches."""
        if self.groups is None:
            return self.X.digest()
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.X.dtype}{self.X.shape}{self.groups.tolist()}".encode())
        digest.update(np.ascontiguousarray(self.X).data)
        return digest.hexdigest()

    def held_out(self, wanted: Sequence[str]) -> list[str]:
        """Return the names of groups that subjects stand under."""
        if self.groups is None:
            return list(self.X.select(subjects=wanted).subjects)
        return list(wanted)


def open_data(data: str, exclude: Sequence[str] = ()) -> TrainingData:
    """Open a prepared corpus, or load a dataset by name.

    Parameters
    ----------
    data : str
        Folder that ``eegfound prepare`` made, or a name of
        :func:`eegfound.datasets.list_datasets`.
    exclude : sequence of str
        Subjects to leave out.

    Raises
    ------
    SpecError
        If it is neither, or a subject to exclude is not there.
    """
    from eegfound.corpus import Corpus
    from eegfound.datasets import list_datasets, load_dataset
    from eegfound.datasets.catalog import get_card

    path = Path(data).expanduser()
    if data not in list_datasets() and path.exists():
        if path.is_file():
            raise SpecError(
                f"--data {data} is a file: `eegfound prepare {data} --out store --dataset NAME` "
                "makes a folder of recordings to train on."
            )
        corpus = Corpus(path)
        if exclude:
            corpus = corpus.select(exclude=exclude)
        return TrainingData(corpus, None, None, data, {}, tuple(exclude))
    X, _, groups, info = load_dataset(data)
    card = get_card(data)
    terms = {"name": data, "licence": card.licence, "citation": "; ".join(card.citation)}
    names = np.asarray(groups).astype(str)
    unknown = sorted(set(exclude) - set(names))
    if unknown:
        raise SpecError(f"Subjects {unknown} are not in {data!r}: {sorted(set(names))}.")
    keep = ~np.isin(names, list(exclude))
    if not keep.any():
        raise SpecError("No subject is left to train on: exclude fewer.")
    return TrainingData(X[keep], names[keep], info, data, terms, tuple(exclude))


def prepare_folder(out: Path, asked: Mapping[str, Any], *, fresh: bool) -> None:
    """Make the folder of a training, or check that it is the same training that goes on.

    Parameters
    ----------
    out : Path
        The folder.
    asked : mapping
        Plain data: all that the result depends on. :data:`DIGEST` is that of the data.
    fresh : bool
        Forget an earlier training in the folder.

    Raises
    ------
    SpecError
        If it cannot be written to, or holds a training that was asked for otherwise.
    """
    words = json.loads(json.dumps(asked, default=str))
    file = out / RUN
    try:
        out.mkdir(parents=True, exist_ok=True)
        if fresh:
            for old in [*(out / STATE).glob("*.pretraining.pt"), file, out / METRICS]:
                old.unlink(missing_ok=True)
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except json.JSONDecodeError as error:
        raise SpecError(f"{file} is damaged: use --fresh, or another --out.") from error
    except OSError as error:
        raise SpecError(f"--out {out} is no folder that can be written to: {error}") from error
    known = words if before is None else before
    if DIGEST in words:
        known.setdefault(DIGEST, words[DIGEST])  # folders of earlier versions have none
    changed = [
        "the data have changed since"
        if name == DIGEST
        else f"{name} was {known.get(name)!r}, is {words.get(name)!r}"
        for name in {**known, **words}
        if name not in _MAY_CHANGE and known.get(name) != words.get(name)
    ]
    if changed:
        raise SpecError(
            f"--out {out} holds another training ({'; '.join(changed)}): name another folder, "
            "give the same options and data, or start over with --fresh."
        )
    try:
        unfinished = out / f".{RUN}.{os.getpid()}.tmp"
        unfinished.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, file)
    except OSError as error:
        raise SpecError(f"--out {out} is no folder that can be written to: {error}") from error


def _indices(pretrainer: Any, source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return windows that were held out, and those that were not."""
    from eegfound.pretraining.held_out import recorded

    names = pretrainer.record_.get("held_out", [])
    every = np.arange(len(source))
    if source.groups is None or not len(names):
        return every[:0], every
    out = np.isin(recorded(source), names)
    return every[out], every[~out]


def draw(pretrainer: Any, data: TrainingData) -> list[Drawing]:
    """Let every stage's objective show what it makes of held-out windows.

    Parameters
    ----------
    pretrainer : FoundationPretrainer
        Fitted.
    data : TrainingData
        What it was fitted on.

    Returns
    -------
    list of Drawing
        Up to three windows per stage, of different subjects where there are several; the
        first counts the codes of up to 64 windows.
    """
    import torch

    from eegfound.pretraining.batches import Part
    from eegfound.pretraining.given import hand_front_end, source_of

    source = source_of(pretrainer, data.X, data.groups, reset=False)
    held_out, others = _indices(pretrainer, source)
    hand_front_end(pretrainer, source)
    pool = held_out if len(held_out) else others
    picked = pool[np.unique(np.linspace(0, len(pool) - 1, N_COUNTED).round().astype(int))]
    many = max(source.jobs(picked), key=lambda job: len(job.epochs))
    first = int(picked[many.epochs[0]])
    rest = [int(i) for i in pool[np.linspace(0, len(pool) - 1, N_DRAWN).round().astype(int)]]
    rest = [i for i in dict.fromkeys(rest) if i != first][: N_DRAWN - 1]
    groups = None if source.groups is None else np.asarray(source.groups).astype(str)
    drawings = []
    for stage, objective in pretrainer.objectives_.items():
        shown = [(first, many), *((i, source.jobs([i])[0]) for i in rest)]
        for number, (window, job) in enumerate(shown):
            batch = Part(0, job).batch("cpu")
            generator = torch.Generator().manual_seed(pretrainer.seed_ + number)
            with torch.no_grad():
                found = dict(objective.illustrate(batch, generator=generator))
            if window != first:
                found.pop("code_use", None)
            if not found:
                continue
            title = f"window {window}" if groups is None else f"subject {groups[window]}"
            if not len(held_out):
                title += " (trained on)"
            drawings.append(_drawing(stage, found, batch, pretrainer, title))
    return drawings


def _drawing(stage: str, found: dict[str, Any], batch: Any, pretrainer: Any, title: str) -> Drawing:
    """Label the axes; signals in the network's unit are shown in microvolts."""
    spec = pretrainer._model().input
    signal = found.get("signal")
    own = batch.signal[0]
    sfreq, unit = None, ""
    if signal is not None and batch.signal.ndim == 3 and pretrainer._model().front_end is None:
        if signal.shape[-1] == own.shape[-1]:
            sfreq = spec.sfreq
        if signal.shape == own.shape and np.allclose(signal.cpu(), own.cpu(), rtol=1e-4):
            unit, factor = "µV", 1e6 / spec.volts_to_model
            for name in ("signal", "reconstruction"):
                if found.get(name) is not None:
                    found[name] = found[name] * factor
    return Drawing.of(
        stage, found, ch_names=tuple(batch.ch_names), sfreq=sfreq, unit=unit, title=title
    )


def stage_facts(pretrainer: Any) -> list[dict[str, Any]]:
    """Return name, summary and options (as they counted) of the stages that were trained."""
    from eegfound.estimators._pretraining import stage_options
    from eegfound.pretraining.options import stages_of

    summaries = {stage.name: stage.summary for stage in stages_of(pretrainer._model())}
    return [
        {
            "name": name, "summary": summaries[name],
            "options": {f.name: getattr(options, f.name) for f in fields(options)},
        }
        for name, options in stage_options(pretrainer, again=False, last=False).items()
    ]  # fmt: skip


def outcome(pretrainer: Any) -> list[Reached]:
    """Return what each stage reached on held-out windows: of the weights that are kept."""
    stopped = bool(pretrainer.early_stopping)
    best = {stage: told["epoch"] for stage, told in pretrainer.best_.items()} if stopped else {}
    return reached(pretrainer.history_, best)


def finish(
    pretrainer: Any, data: TrainingData, out: Path, run: Mapping[str, Any], command: str
) -> dict[str, Path]:
    """Write weights and report.

    Parameters
    ----------
    pretrainer : FoundationPretrainer
        Fitted.
    data : TrainingData
        What it was fitted on.
    out : Path
        Folder.
    run, command
        For the report: see :func:`eegfound.pretraining.report.write_report`.

    Returns
    -------
    dict of str to Path
        ``weights``, ``objective`` and ``report``.
    """
    from eegfound.benchmark.identity import versions

    model = pretrainer._model()
    if data.excluded:
        pretrainer.record_["excluded"] = list(data.excluded)
    stem = out / f"{model.name}-{pretrainer.size_}"
    weights = pretrainer.save(f"{stem}.safetensors")
    objective = pretrainer.save(f"{stem}.objective.safetensors", what="objective")
    facts = {
        "model": model.name, "size": pretrainer.size_, "summary": model.summary,
        "citation": model.citation, "stages": stage_facts(pretrainer),
        "n_parameters": sum(p.numel() for p in pretrainer.encoder_.parameters()),
        "record": pretrainer.record_, "held_out": pretrainer.record_.get("held_out", []),
        "excluded": list(data.excluded), "run": run, "fingerprint": pretrainer.fingerprint_,
        "files": {"Weights": weights.name, "Objectives": objective.name, "Metrics": METRICS},
        "versions": versions(), "command": command,
    }  # fmt: skip
    report = write_report(
        out / REPORT, pretrainer.history_, facts=facts, drawings=draw(pretrainer, data),
        outcome=outcome(pretrainer),
    )  # fmt: skip
    return {"weights": weights, "objective": objective, "report": report}
