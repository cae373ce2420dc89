"""Who was recorded, told from a file or its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from eegfound.base import SpecError

#: What ``subject=`` may be.
SubjectRule = str | Callable[[Path], Any] | None
_BIDS = re.compile(r"(?:^|[/_])sub-([A-Za-z0-9]+)(?=[/_.]|$)")
_WORDS = ("folder", "bids", "file")
#: Identities that anonymized files carry.
_NOBODY = re.compile(r"^(?:x+|anonymous|anonym\w*|unknown|none|n/?a|subject|patient|0*)$", re.I)


def subject_rule(
    rule: SubjectRule, usual: str | None = None
) -> Callable[[Path, str | None], str | None]:
    """Turn what the user says about subjects into a function.

    Parameters
    ----------
    rule : {"folder", "bids", "file"} | regular expression | callable | None
        ``"folder"``: the folder the file lies in. ``"bids"``: the ``sub-``
        entity in its path. ``"file"``: every file is a subject of its own. A
        regular expression is searched in the path (with ``/``); its first
        group is the subject. A callable gets the path. None: by ``usual``, then
        what the file itself says, then ``sub-`` in the path.
    usual : str | None
        Regular expression of a known set.

    Returns
    -------
    callable
        From path and what the file says (or None) to the subject; None where
        it cannot be told.
    """
    if rule is None:
        known = (lambda path, told: None) if usual is None else subject_rule(usual)
        return lambda path, told: known(path, told) or _identity(told) or _bids(path)
    if callable(rule):
        function = rule
        return lambda path, told: _text(function(path))
    if rule == "folder":
        return lambda path, told: path.absolute().parent.name or None
    if rule == "bids":
        return lambda path, told: _bids(path)
    if rule == "file":
        return lambda path, told: path.name.split(".")[0]
    try:
        regex = re.compile(rule)
    except (re.error, TypeError) as error:
        raise SpecError(
            f"subject={rule!r} is none of {_WORDS}, no callable and no regular expression: {error}"
        ) from error
    if not regex.groups:
        raise SpecError(
            f"subject={rule!r} must have a group that holds the subject, such as r'S(\\d+)R'."
        )

    def search(path: Path, told: str | None) -> str | None:
        found = regex.search(path.as_posix())
        return _text(found.group(1)) if found else None

    return search


def _bids(path: Path) -> str | None:
    found = _BIDS.findall(path.as_posix())
    return found[-1] if found else None


def _identity(told: str | None) -> str | None:
    text = _text(told)
    return None if text is None or _NOBODY.match(text) else text


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def same_subject(value: Any) -> str:
    """Return a subject as it is compared: ``7``, ``"7"`` and ``"007"`` are one."""
    text = str(value).strip()
    return str(int(text)) if text.isdigit() else text


def person(name: Any) -> str:
    """Return a subject as people call them: 7, "007", "S007" and "sub-07" are one.

    Examples
    --------
    >>> from eegfound.corpus.subjects import person
    >>> person("S007"), person("sub-07"), person("P3")
    ('7', '7', 'p3')
    """
    text = re.sub(r"[\W_]", "", str(name).lower()) or str(name)
    found = re.fullmatch(r"(?:subject|subj|sub|s)?0*(\d+)", text)
    return found[1] if found else text


def natural(text: str) -> tuple[Any, ...]:
    """Sort ``subject10`` after ``subject2``."""
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text))


def same_people(names: Sequence[str], also: Iterable[Iterable[str]]) -> dict[str, str]:
    """Tell from recordings that are known under several names who is who.

    Parameters
    ----------
    names : sequence of str
        Name under which each recording is kept.
    also : iterable of iterable of str
        Names that its copies have.

    Returns
    -------
    dict of str to str
        For every name one of those of the same person, the same one for all of them.

    Examples
    --------
    >>> from eegfound.corpus.subjects import same_people
    >>> same_people(["A/1", "A/2", "B/5"], [["B/5"], [], []])
    {'A/1': 'A/1', 'B/5': 'A/1', 'A/2': 'A/2'}
    """
    leader: dict[str, str] = {}

    def first(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for name, others in zip(names, also, strict=True):
        for other in (name, *others):
            leader[first(other)] = first(name)
    return {name: first(name) for name in leader}


def one_name_each(names: Sequence[str], people: dict[str, str]) -> list[str]:
    """Return names with one for each person: the first of theirs in natural order."""
    chosen: dict[str, str] = {}
    for name in sorted(set(names), key=natural):
        chosen.setdefault(people[name], name)
    return [chosen[people[name]] for name in names]
