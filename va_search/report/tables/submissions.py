"""Table 6: the submission strategies, as `va-search submissions` noted them (paper 4.7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from va_search.ensemble.fresh import content_id
from va_search.ensemble.saved import read_ensemble
from va_search.errors import InputError
from va_search.files import read_json
from va_search.report.gather import Gathered
from va_search.report.model import DASH, Column, Missing, Row, Table, columns, row
from va_search.report.words import number

TITLE = "Table 6: submission strategies"
NUMBERS = ("Test valence", "Test arousal", "Test score", "Score, out-of-fold", "Score, in-sample")


def submissions_table(gathered: Gathered, out: Path | None = None) -> Table:
    """One row per strategy; the test's columns say `withheld` where its labels were not at hand.

    `out`: the report's folder; without it no command is named.
    """
    command = _command(gathered, out)
    found = [one for name in gathered.names if (one := _read(gathered, name)) is not None]
    broken = [text for text in found if isinstance(text, str)]
    documents = [one for one in found if isinstance(one, dict)]
    if not documents:
        why = (
            broken[0] if broken else "The submission strategies have not been run on these studies."
        )
        return Table(TITLE, missing=Missing(why, command))
    document = max(documents, key=lambda one: str(one.get("made_at")))
    rows, labelled = document["rows"], document.get("labels") is not None
    notes = [f"{one.get('strategy', DASH)}: {one['problem']}" for one in rows if one.get("problem")]
    notes += _outdated(gathered, rows)
    notes += (
        []
        if labelled
        else ["The test's labels are withheld: only the organisers can score on them."]
    )
    notes.append(
        "In-sample: on the very recordings that weights were chosen on, so too high; out-of-fold: chosen again without "
        "those judged on. Scores on different recordings don't compare. What holds Train-Val-Mix members has neither: "
        "they trained on every labelled recording."
    )
    return Table(
        TITLE,
        (
            *columns("Submission", "Strategy", numbers=NUMBERS),
            Column("these measured on"),
            Column("Members"),
        ),
        tuple(_row(one, labelled) for one in rows),
        lead="CCC. Score: mean of the two dimensions.",
        notes=tuple(notes),
    )


def _command(gathered: Gathered, out: Path | None) -> str | None:
    """The command that writes the strategies' submissions; None where there are no test recordings
    or trials."""
    store = gathered.store
    if out is None or store is None or not store.split("test") or not gathered.scored:
        return None
    number, folder = 1, Path(f"{gathered.names[0]}-submissions")
    while folder.exists():
        number += 1
        folder = Path(f"{gathered.names[0]}-submissions-{number}")
    return gathered.home.command("submissions", *gathered.names, "--out", str(folder))


def _outdated(gathered: Gathered, rows: list[dict[str, Any]]) -> list[str]:
    """A note for every strategy whose ensemble was built again since its submission was written."""
    notes = []
    for one in rows:
        name = one.get("ensemble")
        if not name or not one.get("content"):
            continue
        try:
            now = content_id(read_ensemble(gathered.home, str(name)))
        except InputError:
            now = None
        if now != one["content"]:
            notes.append(
                f"{one.get('strategy', DASH)}: ensemble {name} was built again, or removed, after this submission was "
                "written; va-search submissions writes it again."
            )
    return notes


def _row(one: dict[str, Any], labelled: bool) -> Row:
    members = one.get("members") or {}
    test = one.get("test") or {}
    counts = (
        ", ".join(f"{members[name]} {name}" for name in ("valence", "arousal") if name in members)
        or DASH
    )
    scores = [
        number((one.get(measured) or {}).get("score")) for measured in ("out_of_fold", "in_sample")
    ]
    hidden = not labelled and not one.get("problem")
    tested = [
        "withheld" if hidden else number(test.get(name)) for name in ("valence", "arousal", "score")
    ]
    where = (
        _measured_on(one.get("measured_on") or {})
        if any(score != DASH for score in scores)
        else DASH
    )
    return row(
        str(one.get("submission", DASH)),
        str(one.get("strategy", DASH)),
        *tested,
        *scores,
        where,
        counts,
    )


def _measured_on(measured: dict[str, Any]) -> str:
    """In words, the recordings of in-sample and out-of-fold scores."""
    fold, recordings = measured.get("fold"), measured.get("recordings")
    if fold is None:
        return DASH
    where = {"official": "official validation", "all": "train and validation"}.get(
        str(fold), f"fold {fold}"
    )
    return where if recordings is None else f"{where}, {recordings} recordings"


def _read(gathered: Gathered, study: str) -> dict[str, Any] | str | None:
    """submissions.json of a study; a text where it is damaged, None where there is none."""
    path = gathered.home.study(study) / "submissions.json"
    if not path.is_file():
        return None
    try:
        document = read_json(path)
    except InputError as error:
        return f"{error}."
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        return f"{path}: not what va-search submissions writes; run it again."
    return document
