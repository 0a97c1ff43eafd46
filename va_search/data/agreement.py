"""The audit of several raters: how far they agree, and their usual spread, by target.

Conventions: CCC and r are means over pairs of a recording's raters (raters.py), None where no pair
has one; a spread is on its target's scale. Raters of test recordings are left out, since no label of
the test split is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Values
from va_search.data.raters import Agreement
from va_search.data.store import Store, positions
from va_search.errors import counted

RECORDINGS_SHOWN = 10

Agreements = Mapping[str, Mapping[str, Agreement]]
"""Recording -> target -> its agreement, of the targets that have several raters."""


def agreements_of(store: Store, manifest: Mapping[str, Any]) -> Agreements:
    """The agreements in a store's manifest, of its labelled recordings; empty where it keeps no
    raters."""
    recorded = manifest.get("raters", {}).get("agreements", {})
    agreements: dict[str, dict[str, Agreement]] = {}
    for recording in store.labelled:
        targets = recorded.get(recording.name, {})
        if targets:
            agreements[recording.name] = {
                name: Agreement(**entry) for name, entry in targets.items()
            }
    return agreements


def rater_remarks(
    store: Store, agreements: Agreements
) -> Iterator[tuple[Literal["warning", "note"], str, str]]:
    """Levels, places and texts of remarks: a note for each target with several raters, and a
    warning for recordings whose raters contradict each other."""
    if store.spread is None or store.raters is None:
        return
    frames = positions(store.labelled)
    spread, raters = store.spread[frames], store.raters[frames]
    tests = [part for part in store.split("test") if (store.raters[part.span] > 1).any()]
    if tests:
        yield (
            "note",
            "raters",
            f"the raters of {counted(len(tests), 'test recording')} are left out",
        )
    for column, target in enumerate(store.target_names):
        of_target: dict[str, Agreement] = {}
        for recording, targets in agreements.items():
            if target in targets:
                of_target[recording] = targets[target]
        if not of_target:
            continue
        where = f"target {target}"
        yield "note", where, _agreement_words(of_target)
        yield "note", where, _spread_words(spread[:, column], raters[:, column])
        yield from _contradictions(target, of_target)


def _agreement_words(agreements: Mapping[str, Agreement]) -> str:
    """Number of raters, and their agreement over all recordings, with the lowest and highest."""
    numbers = sorted({entry.raters for entry in agreements.values()})
    words = f"{numbers[-1]} raters"
    if len(numbers) > 1:
        words = f"{numbers[0]} to {words}"
    concordances: dict[str, float] = {}
    correlations = []
    for recording, entry in agreements.items():
        if entry.ccc is not None:
            concordances[recording] = entry.ccc
        if entry.r is not None:
            correlations.append(entry.r)
    if not concordances or not correlations:
        return f"{words}; no two of them labelled the same frames with values that vary"
    lowest = min(concordances, key=concordances.__getitem__)
    highest = max(concordances, key=concordances.__getitem__)
    mean_ccc, mean_r = np.mean([*concordances.values()]), np.mean(correlations)
    words += (
        f"; between two of them CCC {mean_ccc:.3f} and r {mean_r:.3f} on average over "
        f"{counted(len(concordances), 'recording')}"
    )
    if lowest != highest:
        words += (
            f" (CCC {concordances[lowest]:.3f} in recording {lowest} to "
            f"{concordances[highest]:.3f} in recording {highest})"
        )
    return words


def _spread_words(spread: Values, raters: NDArray[np.integer]) -> str:
    """The usual spread of a target (frames,), and the labelled frames that have none."""
    labelled = int((raters > 0).sum())
    single = int((raters == 1).sum())
    known = spread[np.isfinite(spread)].astype(np.float64)
    words = "no frame has two raters"
    if known.size:
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
        words = (
            f"spread of the raters of a frame: {middle:.3g} (median; {low:.3g} to {high:.3g} in "
            "nine frames of ten)"
        )
    if single:
        words += f"; {single:,} of {labelled:,} labelled frames have one rater, and no spread"
    return words


def _contradictions(
    target: str, agreements: Mapping[str, Agreement]
) -> Iterator[tuple[Literal["warning", "note"], str, str]]:
    """Recordings whose raters do not correlate, the worst ones first."""
    worst: list[tuple[float, str]] = []
    for recording, entry in agreements.items():
        if entry.r is not None and entry.r <= 0:
            worst.append((entry.r, recording))
    worst.sort()
    for r, recording in worst[:RECORDINGS_SHOWN]:
        text = (
            f"its {agreements[recording].raters} raters do not agree on {target} (r {r:.3f} "
            "between two of them)"
        )
        yield "warning", f"recording {recording}", text
    if len(worst) > RECORDINGS_SHOWN:
        more = counted(len(worst) - RECORDINGS_SHOWN, "more recording")
        yield "note", f"target {target}", f"raters do not agree in {more}"
