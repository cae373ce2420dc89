"""What is known of public sets, so that nobody has to say it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eegfound.datasets.adhd import CH_NAMES, NOMINAL_VOLTS_PER_UNIT
from eegfound.datasets.adhd import SFREQ as ADHD_SFREQ
from eegfound.datasets.cards import CARDS
from eegfound.datasets.recordings import Recording, read_mat, read_muse_csv


@dataclass(frozen=True)
class KnownSet:
    """Defaults for a set with a card in :mod:`eegfound.datasets`.

    Attributes
    ----------
    subject : str | None
        Regular expression for the path, its first group the subject.
    unit : float | None
        Volts per unit of the files, where they do not say it.
    readers : mapping of str to callable
        Endings that only this set uses.
    """

    subject: str | None = None
    unit: float | None = None
    readers: tuple[tuple[str, Callable[[Path], Recording]], ...] = ()


def _read_adhd(path: Path) -> Recording:
    recording = read_mat(path, list(CH_NAMES), ADHD_SFREQ)
    recording.meta["unit_note"] = "raw converter units"
    return recording


KNOWN: dict[str, KnownSet] = {
    "eegmmidb": KnownSet(subject=r"(?:^|/)S0*(\d+)R\d\d\."),
    "eegmat": KnownSet(subject=r"(?:^|/)Subject(\d\d)_[12]\."),
    "adhd": KnownSet(
        subject=r"(?:^|/)(v\d+p?)\.",
        unit=NOMINAL_VOLTS_PER_UNIT,
        readers=((".mat", _read_adhd),),
    ),
    "muse": KnownSet(subject=r"(?:^|[/_-])subject(\d+)[/_]", readers=((".csv", read_muse_csv),)),
}


def known_set(name: str) -> KnownSet:
    """Return what is known of a set; nothing, for sets nobody told us about."""
    return KNOWN.get(name, KnownSet())


def terms(name: str, licence: str | None, citation: Any) -> tuple[str, list[str]]:
    """Return licence and citation of a set: as the user says, else as its card says."""
    card = CARDS.get(name)
    told = [citation] if isinstance(citation, str) else list(citation or ())
    if card is not None:
        return licence or card.licence, told or list(card.citation)
    return licence or "", told
