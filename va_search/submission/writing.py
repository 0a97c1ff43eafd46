"""One submission: an ensemble's test predictions in a challenge's format, read back and checked
before it appears.

Conventions: values are on the targets' own scales, clipped to their ranges. Before anything is
written, the store and the bank must still be what the ensemble was built on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.store import Store, frames_hash
from va_search.ensemble.saved import Ensemble, predict
from va_search.ensemble.unscored import in_sample
from va_search.errors import InputError, unknown_name
from va_search.predictions.bank import Bank
from va_search.submission.folder import (
    SUBMISSION,
    PredictionFile,
    about_ensemble,
    may_write,
    write_folder,
)
from va_search.submission.formats import FORMATS, in_words
from va_search.submission.template import fill_template
from va_search.targets import clipped


@dataclass(frozen=True)
class Submission:
    """The folder that was written. `clipped`: values that lay outside their target's range; `unasked`:
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


class OtherRecordings(InputError):
    """The store's test recordings are not those whose predictions the bank has."""


def submit(
    ensemble: Ensemble,
    store: Store,
    bank: Bank,
    *,
    format: str,
    out: Path,
    sample: Path | None = None,
    template: Path | None = None,
    replace: bool = False,
) -> Submission:
    """Write `ensemble`'s predictions of the store's test recordings to the folder `out`.

    With `template` a copy of the organisers' files in that folder is filled (template.py), and
    `format` stays "recordings". OtherRecordings for another store's, which weights can predict.
    InputError: unknown format, no test recordings, other targets, a bank that changed since the
    ensemble was built, a sample or template that asks for other recordings or frames, an `out` that
    is anything but an earlier submission of this ensemble (or, with `replace`, any earlier output
    of ours)."""
    if format not in FORMATS:
        raise InputError(unknown_name("format", format, FORMATS))
    if template is not None and (format != "recordings" or sample is not None):
        raise InputError(
            f"--template {template}: the organisers' files say the format; leave out --format and "
            "--sample"
        )
    out = out.resolve()
    replaced = may_write(out, ensemble.name, SUBMISSION, replace=replace)
    test = store.split("test")
    _refuse_other_data(ensemble, store, bank)
    raw = predict(ensemble, bank, "test", test)
    # Clipped at the end only, and counted: many clipped values tell of a wrong scale.
    values = clipped(raw, store.targets)
    sheets: Sequence[PredictionFile]
    if template is None:
        sheets = FORMATS[format](values, test, store, sample)
    else:
        format = "template"
        sheets = fill_template(values, test, store, template)
    about = about_ensemble(ensemble, SUBMISSION) | {"format": format}
    write_folder(out, sheets, about, store.targets)
    rows = sum(len(sheet.values) for sheet in sheets)
    return Submission(
        ensemble=ensemble.name,
        format=format,
        folder=out,
        files=tuple(sheet.name for sheet in sheets),
        recordings=len(test),
        rows=rows,
        clipped=int((raw != values).sum()),
        unasked=0 if format == "template" else len(values) - rows,
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
        raise OtherRecordings(
            f"{store.path}: its test recordings are not those ensemble {ensemble.name!r} was built on"
        )
    # No frame or score shows another range of a target, but values are clipped to it.
    if store.targets != ensemble.targets:
        raise InputError(
            f"{store.path}: {in_words(store.targets)}, ensemble {ensemble.name!r} is of "
            f"{in_words(ensemble.targets).removeprefix('label range ')}; build it again"
        )
    # A member that was trained anew, or other annotations, give other scores.
    problems = _replaced(ensemble, bank)
    for _, piece in ensemble.pieces:
        scores = in_sample(piece, bank, store)
        if scores is None:
            continue  # members that trained on every labelled recording
        for target in ensemble.target_names:
            built = piece.dimensions[target].scores.in_sample
            built = math.nan if built is None else built
            if not abs(scores[target] - built) < 1e-6:  # true of NaN
                problems.append(
                    f"ensemble {piece.name!r}: {target} CCC in-sample is {scores[target]:.4f} "
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
