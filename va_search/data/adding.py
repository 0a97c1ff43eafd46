"""Feature sets of one store added to another of the same recordings, without a moment in which the
store is half.

Conventions: new files are laid beside the old ones, which stay as they are; the manifest, written
last with one rename, is what makes them part of the store. Whoever reads the store meanwhile goes
on reading what it opened; hashes of the feature sets that were there, and so the ids of trials on
them, stay what they were."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from va_search.data.draft import write_arrow
from va_search.data.problems import refuse
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import read_json, whole_file, write_json


def add_feature_sets(to: Path, new: Path) -> Store:
    """Add the feature sets of the store at `new` to the one at `to`; the same call again finds them
    there.

    Frames that have no face in `new` have none in the result; times are taken where `to` has none.
    InputError when the recordings, their splits, subjects, lengths or annotations differ, or a name
    is taken by other values."""
    old, more = Store.open(to), Store.open(new)
    _check_same_recordings(old, more)
    taken = [name for name, one in more.feature_sets.items() if _other(old, name, one.hash)]
    if taken:
        raise InputError(
            *(
                f"{to}: feature set {name!r} is there with other values; name it otherwise"
                for name in taken
            )
        )
    for name in more.feature_sets:
        if name not in old.feature_sets:
            _lay(new / "features" / f"{name}.arrow", to / "features" / f"{name}.arrow")
    _add_frames(old, more)
    write_json(
        to / "manifest.json",
        _merged(read_json(to / "manifest.json"), read_json(new / "manifest.json"), to),
    )
    return Store.open(to)


def _other(store: Store, name: str, content: str) -> bool:
    return name in store.feature_sets and store.feature_sets[name].hash != content


def _check_same_recordings(old: Store, more: Store) -> None:
    given = {one.name: (one.split, one.subject, one.frames) for one in more.recordings}
    problems = differences(old, given, str(more.path))
    if not problems and old.hashes["annotations"] != more.hashes["annotations"]:
        problems = [f"{more.path}: other annotations than in {old.path}; make both from the same"]
    refuse(problems)


def differences(
    store: Store, given: Mapping[str, tuple[str, str, int | None]], where: str
) -> list[str]:
    """How the recordings given, of which `where` tells, differ from the store's; none when all is
    the same, in order.

    `given` maps a name to split, subject and frames, None where it would have to be read first.
    """
    there = {one.name: (one.split, one.subject, one.frames) for one in store.recordings}
    problems = [
        f"{store.path}: recording {name!r} is not in {where}" for name in there if name not in given
    ]
    problems += [
        f"{store.path}: no recording {name!r}, which is in {where}"
        for name in given
        if name not in there
    ]
    problems += [
        f"recording {name!r}: {what} {before} in {store.path}, {now} in {where}"
        for name in there
        if name in given
        for what, before, now in zip(
            ("split", "subject", "frames"), there[name], given[name], strict=True
        )
        if now is not None and now != before
    ]
    if not problems and list(there) != list(given):
        problems = [f"{store.path}: its recordings are in another order in {where}"]
    return problems


def _lay(source: Path, to: Path) -> None:
    """The file at `source` also at `to`: a link where the disk can, else a copy, whole."""
    with whole_file(to) as beside:
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)


def _add_frames(old: Store, more: Store) -> None:
    """Faces and times; the file has the same size after it, and annotations are left alone."""
    valid = old.valid & more.valid
    times = np.where(np.isnan(old.times), more.times, old.times)
    if np.array_equal(valid, old.valid) and np.array_equal(times, old.times, equal_nan=True):
        return
    pair = old.annotations
    columns = {"valence": pair[:, 0], "arousal": pair[:, 1], "time": times, "valid": valid}
    write_arrow(old.path / "frames.arrow", pa.table(columns))


def _merged(old: dict[str, Any], more: dict[str, Any], to: Path) -> dict[str, Any]:
    there = {entry["name"] for entry in old["feature_sets"]}
    added = [entry for entry in more["feature_sets"] if entry["name"] not in there]
    features = {f"features/{entry['name']}.arrow" for entry in added}
    sizes = {name: size for name, size in more["bytes"].items() if name in features}
    sizes["frames.arrow"] = (to / "frames.arrow").stat().st_size
    notes = {**old.get("notes", {}), **more.get("notes", {})}
    return {
        **old,
        "feature_sets": old["feature_sets"] + added,
        "bytes": {**old["bytes"], **sizes},
        "warnings": list(dict.fromkeys(old["warnings"] + more["warnings"])),
        "definitions": {**old.get("definitions", {}), **more.get("definitions", {})},
        **({"notes": notes} if notes else {}),
    }
