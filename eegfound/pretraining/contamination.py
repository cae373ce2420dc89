"""What weights have seen, over several trainings."""

from __future__ import annotations

from typing import Any

#: Stands in a record for data that nobody told of.
UNTOLD = "unknown"


def merged_record(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return what went in, earlier trainings included; held out is who never was trained on."""
    if not before:
        return now
    sets = {each["name"]: dict(each) for each in before.get("datasets", [])}
    trained = trained_on(before)
    for each in now["datasets"]:
        old = sets.get(each["name"])
        if old is None:
            sets[each["name"]] = dict(each)
            continue
        ours, theirs = old.get("subjects") or [], each.get("subjects") or []
        both = list(dict.fromkeys([*ours, *theirs])) if ours and theirs else []
        again = set(theirs) <= set(ours)
        for name in ("hours", "n_recordings"):
            a, b = old.get(name) or 0, each.get(name) or 0
            old[name] = max(a, b) if again else a + b
        old["subjects"] = both
    told = {**now, "datasets": list(sets.values())}
    told["hours"] = sum(each.get("hours") or 0 for each in sets.values())
    told.pop("held_out", None)
    out = {*before.get("held_out", []), *now.get("held_out", [])} - trained - trained_on(now)
    return {**told, "held_out": sorted(out)} if out else told


def trained_on(record: dict[str, Any]) -> set[str]:
    """Return the groups of a record that were not held out."""
    named = [(each["name"], s) for each in record.get("datasets", [])
             for s in each.get("subjects") or []]  # fmt: skip
    everybody = {s if name == "array" else f"{name}/{s}" for name, s in named}
    return everybody - set(record.get("held_out", []))
