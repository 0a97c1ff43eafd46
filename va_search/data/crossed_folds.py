"""Folds by subject and stimulus at once: parts of people times parts of stimuli.

Conventions: a fold is the recordings of one part of people and one part of stimuli, so that every
recording is in one. Its training has no recording of these people or of these stimuli: those that
share one of the two are left out (`Store.apart`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from va_search.data.fold_labels import Labels, amounts_of
from va_search.data.grouping import divide, kept_together
from va_search.data.store import Recording, without_shared
from va_search.errors import InputError


def people_times_stimuli(
    recordings: Sequence[Recording], labels: Labels, *, k: int, seed: int, tries: int
) -> dict[str, int]:
    """Return the fold of each recording: one of k pairs of a part of people and a part of stimuli.

    InputError where k is no product of two such numbers of parts, or a fold would be empty or
    without training."""
    every = range(len(recordings))
    people, _ = kept_together(recordings, every, ("subject",))
    stimuli, _ = kept_together(recordings, every, ("stimulus",))
    of_people, of_stimuli = _two_factors(k, len(people), len(stimuli))
    part_of = np.zeros((2, len(recordings)), np.int64)
    divisions = ((people, of_people), (stimuli, of_stimuli))
    for row, (groups, parts) in enumerate(divisions):
        amounts = amounts_of(recordings, labels, groups, parts)
        division = divide(amounts, parts, seed=seed, tries=tries)
        for group, part in zip(groups, division.tolist(), strict=True):
            part_of[row, list(group)] = part
    numbers = (part_of[0] * of_stimuli + part_of[1] + 1).tolist()
    folds = {recording.name: numbers[index] for index, recording in enumerate(recordings)}
    _refuse_useless_folds(recordings, folds, k)
    return folds


def _two_factors(k: int, people: int, stimuli: int) -> tuple[int, int]:
    """Return the parts of people and of stimuli, k together, with which folds train on the most;
    InputError where there are none of at least 2 each."""
    best: tuple[float, int] | None = None
    for parts in range(2, min(k // 2, people) + 1):
        if k % parts == 0 and k // parts <= stimuli:
            trained = (1 - 1 / parts) * (1 - parts / k)
            best = max(best or (0.0, 0), (trained, parts))
    if best is None:
        raise InputError(
            f"--k {k}: folds by subject and stimulus are parts of people times parts of stimuli, so "
            f"expected a product of two numbers from 2 on, such as 4, 6 or 9, the first at most "
            f"{people} (groups of people), the second at most {stimuli} (groups of stimuli)"
        )
    return best[1], k // best[1]


def _refuse_useless_folds(recordings: Sequence[Recording], folds: dict[str, int], k: int) -> None:
    """Refuse folds of which one holds no recording, or has none to train on."""
    for number in range(1, k + 1):
        held = [recording for recording in recordings if folds[recording.name] == number]
        lacks = "would hold no recording"
        if held:
            if without_shared(recordings, held, ("subject", "stimulus")):
                continue
            lacks = "would have no recording to train on"
        raise InputError(
            f"--k {k}: fold {number} {lacks}: too few people watched the same stimuli; try fewer "
            "folds, or another --seed"
        )


def left_out_of_training(
    recordings: Sequence[Recording], folds: dict[str, int], apart: Sequence[str]
) -> dict[int, int]:
    """Return the number of recordings that each fold neither validates nor trains on, since they
    share one of the facts `apart` with its validation recordings; nothing where no fold does."""
    left_out = {}
    for number in sorted(set(folds.values())):
        held = [recording for recording in recordings if folds[recording.name] == number]
        others = [recording for recording in recordings if folds[recording.name] != number]
        left_out[number] = len(others) - len(without_shared(others, held, apart))
    return left_out if any(left_out.values()) else {}
