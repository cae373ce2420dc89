"""What a hold-out keeps together, and the names it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eegfound.corpus.subjects import one_name_each, same_people

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class GroupNames:
    """Groups of recordings.

    Attributes
    ----------
    of : list of str
        Group of each recording.
    aliases : dict of str to str
        Groups by the other names that they have here.
    """

    of: list[str]
    aliases: dict[str, str]


def group_names(index: pd.DataFrame, by: str, people: dict[str, str]) -> GroupNames:
    """Group recordings, so that no copy of one stands in another group.

    Parameters
    ----------
    index : DataFrame
        Of recordings.
    by : {"subject", "recording", "dataset"}
        What is a group.
    people : dict of str to str
        Who is who; see :class:`eegfound.corpus.Corpus`.
    """
    if by == "recording":  # copies are kept once
        return GroupNames(index["recording"].tolist(), {})
    names = [f"{d}/{s}" for d, s in zip(index["dataset"], index["subject"])]
    also = [list(n) for n in index["also_in"]] if "also_in" in index else [[] for _ in names]
    if by == "dataset":
        names, also = index["dataset"].tolist(), [[n.rpartition("/")[0] for n in a] for a in also]
        people = same_people(names, also)
    of = one_name_each(names, people)
    group = {people[name]: chosen for name, chosen in zip(names, of)}
    every = {*names, *(name for known in also for name in known)}
    return GroupNames(of, {n: group[people[n]] for n in every if n != group[people[n]]})
