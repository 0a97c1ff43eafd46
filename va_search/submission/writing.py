"""One submission: an ensemble's test predictions in a challenge's format, read back and checked
before it appears.

Conventions: values are on the source's scale, clipped to the label range. Before anything is
written, the store and the bank must still be what the ensemble was built on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.store import Store, frames_hash
from va_search.ensemble.saved import Ensemble, predict
from va_search.ensemble.unscored import in_sample
from va_search.errors import InputError, unknown_name
from va_search.metrics import DIMENSIONS
from va_search.predictions.bank import Bank
from va_search.submission.folder import SUBMISSION, about_ensemble, may_write, write_folder
from va_search.submission.formats import FORMATS


@dataclass(frozen=True)
class Submission:
    """The folder that was written. `clipped`: values that lay outside the label range; `unasked`:
    frames the sample leaves out."""

    ensemble: str
    format: str
    folder: Path
    files: tuple[str, ...]
    recordings: int
    rows: int
    clipped: int
    unasked: int
    replaced: bool


def submit(
    ensemble: Ensemble,
    store: Store,
    bank: Bank,
    *,
    format: str,
    out: Path,
    sample: Path | None = None,
    replace: bool = False,
) -> Submission:
    """Write `ensemble`'s predictions of the store's test recordings to the folder `out`.

    InputError: unknown format, no test recordings, another store or label range, a bank that
    changed since the ensemble was built, a sample that asks for other recordings or frames, an
    `out` that is anything but an earlier submission of this ensemble (or, with `replace`, any
    earlier output of ours)."""
    if format not in FORMATS:
        raise InputError(unknown_name("format", format, FORMATS))
    out = out.resolve()
    replaced = may_write(out, ensemble.name, SUBMISSION, replace=replace)
    test = store.split("test")
    _refuse_other_data(ensemble, store, bank)
    raw = predict(ensemble, bank, "test", test)
    # Clipped at the end only, and counted: many clipped values tell of a wrong scale.
    values = np.clip(raw, *store.label_range)
    sheets = FORMATS[format](values, test, store, sample)
    about = about_ensemble(ensemble, SUBMISSION) | {"format": format}
    write_folder(out, sheets, about, store.label_range)
    rows = sum(len(sheet.values) for sheet in sheets)
    return Submission(
        ensemble=ensemble.name,
        format=format,
        folder=out,
        files=tuple(sheet.name for sheet in sheets),
        recordings=len(test),
        rows=rows,
        clipped=int((raw != values).sum()),
        unasked=len(values) - rows,
        replaced=replaced,
    )


def _refuse_other_data(ensemble: Ensemble, store: Store, bank: Bank) -> None:
    """The store and the bank must still be what the ensemble was built on: its in-sample scores
    come out again.

    A blend's parts must be so one by one. Members that trained on every labelled recording have no
    scores to compare."""
    test = store.split("test")
    if not test:
        raise InputError(
            f"{store.path}: the store has no test recordings; there is nothing to submit"
        )
    if frames_hash(test) != ensemble.test_frames_hash:
        raise InputError(
            f"{store.path}: its test recordings are not those ensemble {ensemble.name!r} was built "
            "on"
        )
    # No frame or score shows another label range, but values are clipped to it.
    if store.label_range != ensemble.label_range:
        raise InputError(
            f"{store.path}: label range {list(store.label_range)}, ensemble {ensemble.name!r} is of "
            f"{list(ensemble.label_range)}; build it again"
        )
    # A member that was trained anew, or other annotations, give other scores.
    problems = _replaced(ensemble, bank)
    for _, piece in ensemble.pieces:
        scores = in_sample(piece, bank, store)
        if scores is None:
            continue  # members that trained on every labelled recording
        for dimension in DIMENSIONS:
            built = piece.dimensions[dimension].scores.in_sample
            built = math.nan if built is None else built
            if not abs(scores[dimension] - built) < 1e-6:  # true of NaN
                problems.append(
                    f"ensemble {piece.name!r}: {dimension} CCC in-sample is {scores[dimension]:.4f} "
                    f"now and was {built:.4f} when it was built: a member or the annotations "
                    "changed since; build it again"
                )
    if problems:
        raise InputError(*problems)


def _replaced(ensemble: Ensemble, bank: Bank) -> list[str]:
    """Problems for outside models with other predictions now, perhaps of test recordings only,
    which no score shows."""
    contents: dict[tuple[str, str], str | None] = {}
    for _, piece in ensemble.pieces:
        for part in piece.dimensions.values():
            for member in part.members:
                contents[member.study, member.trial] = member.content
    return [
        f"{trial} of study {study} was replaced since ensemble {ensemble.name!r} was built; build "
        "it again"
        for (study, trial), content in contents.items()
        if content is not None and bank.trial(study, trial).content != content
    ]
