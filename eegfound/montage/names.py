"""Reading one channel name as files write it.

Real files write ``Fc5.``, ``EEG Fp1-REF``, ``EEG C3-A2``, ``T3`` or ``E36``.
:func:`parse_name` says what such a name means, in canonical 10-05 spelling.
What only the whole list can tell (a common reference, the inputs of an
amplifier) is added by :func:`eegfound.montage.parse_names`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache

from eegfound.montage.tables import (
    EAR_NAMES,
    EGI_128,
    EXTRA_NAMES,
    LEGACY,
    NON_EEG_WORDS,
    REFERENCE_WORDS,
    TEN_FIVE,
)

_CANONICAL = {name.upper(): name for name in (*TEN_FIVE, *EAR_NAMES, *EXTRA_NAMES)}
_PREFIX = re.compile(r"^(?:(?:EEG|POL|CHAN|CHANNEL|CH|ELECTRODE)[\s:_\-]+|EEG(?=[A-Z]))", re.I)
_BIOSIGNAL = re.compile(r"^(?:[HVLR]?E[OM]G|E[CK]G)", re.I)
_EGI = re.compile(r"^E\s?0{0,2}(\d{1,3})$", re.I)
_SEPARATOR = re.compile(r"\s*[-/:_]\s*|\s+")
_NUMBERED = re.compile(r"^(.*[^\s-])-(\d{1,2})$")

#: Kinds a channel can be of.
KINDS = ("electrode", "ear", "bipolar", "ear-pair", "non-eeg", "unknown")


@dataclass(frozen=True)
class ParsedName:
    """What one channel name means.

    Attributes
    ----------
    raw : str
        The name as the file has it.
    cleaned : str
        Without prefix, reference, dots and blanks, in the file's own (perhaps
        legacy) spelling: ``"EEG T3-REF"`` gives ``"T3"``.
    name : str | None
        Canonical name (``"Fp1"``, ``"T7"``, ``"FTT9h"``, ``"Fp1-F7"``), None
        where the channel is no EEG or not understood.
    kind : str
        ``"electrode"``, ``"ear"`` (A1, A2, M1, M2), ``"bipolar"``,
        ``"ear-pair"`` (``A2-A1``: the difference of two references),
        ``"non-eeg"`` or ``"unknown"``.
    reference : str | None
        Reference the name states (``"A2"``, ``"REF"``, ``"LE"``, …).
    cathode : str | None
        Canonical name of the second electrode of a bipolar derivation.
    equivalent : str | None
        10-10 electrode at the place of a Geodesic Sensor Net electrode.
    note : str
        What was done to the name, for people.

    Examples
    --------
    >>> from eegfound.montage import parse_name
    >>> parse_name("EEG T5-REF").name
    'P7'
    """

    raw: str
    cleaned: str
    name: str | None
    kind: str
    reference: str | None = None
    cathode: str | None = None
    equivalent: str | None = None
    note: str = ""

    @property
    def anode(self) -> str | None:
        """Canonical name of the first electrode (of the only one, if not bipolar)."""
        if self.kind == "bipolar" and self.name is not None and self.cathode is not None:
            return self.name.removesuffix(f"-{self.cathode}")
        return self.name

    @property
    def is_eeg(self) -> bool:
        """False for what is certainly not a scalp channel."""
        return self.kind not in ("non-eeg", "ear-pair")


@lru_cache(maxsize=8192)
def parse_name(raw: str) -> ParsedName:
    """Say what a channel name of a recording means.

    Parameters
    ----------
    raw : str
        Name as the file has it.

    Returns
    -------
    ParsedName
        Canonical name, kind, reference and a note.

    Notes
    -----
    ``T5`` is the older name of ``P7`` (and ``T3``, ``T4``, ``T6`` of ``T7``,
    ``T8``, ``P8``) [1]_. A pair of scalp electrodes is read as a bipolar
    derivation here; only a whole recording can show that ``Cz`` in
    ``Fp1-Cz`` is the reference of all channels.

    References
    ----------
    .. [1] American Electroencephalographic Society (1991). Guidelines for
       standard electrode position nomenclature. J Clin Neurophysiol 8:200-202.

    Examples
    --------
    >>> from eegfound.montage import parse_name
    >>> parse_name("Fc5.").name, parse_name("EEG C3-A2").reference
    ('FC5', 'A2')
    >>> parse_name("FP1-F7").kind
    'bipolar'
    """
    raw = str(raw)
    text = _tidy(raw)
    body = _strip_prefix(text)
    single = _lookup(body)
    if single is not None:
        return _electrode(raw, body, *single)
    if _is_non_eeg(body):
        return ParsedName(raw, body, None, "non-eeg", note="not an EEG signal")
    split = _SEPARATOR.search(body)
    if split is not None:
        first, rest = body[: split.start()], body[split.end() :]
        pair = _pair(raw, first, rest)
        if pair is not None:
            return pair
    numbered = _NUMBERED.match(body)  # MNE numbers repeated labels: "Fp1-0", "T8-P8-1"
    if numbered is not None:
        base = parse_name(numbered.group(1))
        if base.kind != "unknown":
            told = f"label repeated in the file, number {numbered.group(2)}"
            return replace(base, raw=raw, note=f"{base.note}; {told}" if base.note else told)
    return ParsedName(raw, body or raw, None, "unknown", note="name not understood")


def _tidy(raw: str) -> str:
    """Normalise dashes and blanks; drop quotes and the dots that pad EDF labels."""
    text = unicodedata.normalize("NFKC", raw)
    text = re.sub("[\u2010-\u2015\u2212]", "-", text)
    text = " ".join(text.replace("\x00", " ").split())
    return text.strip(" .'\"_")


def _strip_prefix(text: str) -> str:
    """Drop ``EEG`` and the like, also twice (``EEG EEG Fp1``)."""
    while True:
        shorter = _PREFIX.sub("", text, count=1)
        if shorter == text or not shorter:
            return text
        text = shorter.strip(" .-")


def _lookup(text: str) -> tuple[str, str, str | None, str] | None:
    """Return (canonical name, kind, equivalent, note) of a single electrode."""
    key = text.strip(" .").upper()
    if key in LEGACY:
        name = LEGACY[key]
        return name, "electrode", None, f"{key} is the older name of {name}"
    if key in _CANONICAL:
        name = _CANONICAL[key]
        return name, "ear" if name in EAR_NAMES else "electrode", None, ""
    number = _EGI.match(key)
    if number is not None:
        return _egi(int(number.group(1)))
    return None


def _egi(number: int) -> tuple[str, str, str | None, str] | None:
    if number in (129, 257):
        told = f"E{number} is the vertex of a {number - 1}-channel Geodesic Sensor Net"
        return "Cz", "electrode", None, told
    if not 1 <= number <= 256:
        return None
    equivalent = EGI_128.get(number)
    told = f", at the place of {equivalent}" if equivalent else ""
    return f"E{number}", "electrode", equivalent, f"Geodesic Sensor Net electrode{told}"


def _is_non_eeg(body: str) -> bool:
    if _BIOSIGNAL.match(body):
        return True
    words = (word.strip("0123456789").upper() for word in re.split(r"[^0-9A-Za-z]+", body))
    return any(word in NON_EEG_WORDS for word in words)


def _is_reference(text: str) -> bool:
    return re.sub(r"[^0-9A-Z]", "", text.upper()) in REFERENCE_WORDS


def _electrode(
    raw: str, cleaned: str, name: str, kind: str, equivalent: str | None, note: str
) -> ParsedName:
    return ParsedName(raw, cleaned, name, kind, equivalent=equivalent, note=note)


def _pair(raw: str, first: str, rest: str) -> ParsedName | None:
    """Read ``first-rest`` as a referential or a bipolar derivation."""
    anode = _lookup(first)
    if anode is None:
        return None
    name, kind, equivalent, note = anode
    ear = _lookup(rest)
    to_ear = ear is not None and ear[1] == "ear"
    if kind == "ear" and to_ear:
        pair = f"{first}-{rest}"
        return ParsedName(raw, pair, None, "ear-pair", note="difference of two references")
    if to_ear and name in ("E1", "E2"):
        return ParsedName(
            raw, first, None, "non-eeg", reference=rest,
            note="eye electrode of a sleep recording (E1, E2 against an ear or mastoid)",
        )  # fmt: skip
    if _is_reference(rest):
        stated = f"referenced to {rest}"
        return ParsedName(
            raw, first, name, kind, reference=rest, equivalent=equivalent,
            note=f"{note}; {stated}" if note else stated,
        )  # fmt: skip
    cathode = _lookup(rest)
    if cathode is None:
        return None
    older = "; ".join(part[3] for part in (anode, cathode) if "older name" in part[3])
    return ParsedName(
        raw, f"{first}-{rest}", f"{name}-{cathode[0]}", "bipolar", cathode=cathode[0],
        note=f"bipolar derivation ({older})" if older else "bipolar derivation",
    )  # fmt: skip
