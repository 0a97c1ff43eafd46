"""Table 6: the submission strategies, as `va-search submissions` noted them (paper 4.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.ensemble.fresh import content_id
from va_search.ensemble.saved import read_ensemble
from va_search.errors import InputError, counted
from va_search.files import read_json
from va_search.home import Home
from va_search.report.gather import Gathered
from va_search.report.suggest import free_name
from va_search.report.words import measures
from va_search.table import DASH, Missing, Table, TableRow, columns, number, row
from va_search.targets import AFFECT
from va_search.trial import ALL

Scores = Mapping[str, float | None]
"""{each target, score} -> CCC, None where it could not be measured."""
TITLE = "Table 6: the five submissions, CCC"


@dataclass(frozen=True)
class NotedStrategy:
    """A submission strategy as submissions.json has it. `members`: how many by target, empty where it
    could not be made, for which `problem` gives the reason. `fold`, `recordings`: what its
    validation scores were measured on, None where it has none; `reason`: why it has none.
    `content`: the content id of the ensemble when its submission was written."""

    submission: str
    name: str
    ensemble: str
    content: str
    members: Mapping[str, int]
    in_sample: Scores
    out_of_fold: Scores
    test: Scores
    problem: str
    fold: str | int | None
    recordings: int | None
    reason: str | None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> NotedStrategy:
        """Return a row of the file; what an older version did not write is empty."""
        measured = row.get("measured_on") or {}
        return cls(
            submission=str(row.get("submission", DASH)),
            name=str(row.get("strategy", DASH)),
            ensemble=str(row.get("ensemble") or ""),
            content=row.get("content") or "",
            members=row.get("members") or {},
            in_sample=row.get("in_sample") or {},
            out_of_fold=row.get("out_of_fold") or {},
            test=row.get("test") or {},
            problem=row.get("problem") or "",
            fold=measured.get("fold"),
            recordings=measured.get("recordings"),
            reason=measured.get("reason"),
        )


def submissions_table(gathered: Gathered, out: Path | None = None) -> Table:
    """Table 6 as it was saved last with these studies; without one, why, and how to make it.

    `out`: the report's folder; without it no command is named."""
    documents, problems = [], []
    for study in gathered.names:
        path = gathered.home.study(study) / "submissions.json"
        if not path.is_file():
            continue
        try:
            documents.append(_read(path))
        except InputError as error:
            problems.append(f"{error}.")
    if not documents:
        problems.append("The submission strategies have not been run on these studies.")
        return Table(TITLE, missing=Missing(problems[0], _command(gathered, out)))
    # Each command saves its table under its first study; the studies may have several.
    newest = max(documents, key=lambda document: str(document.get("made_at")))
    return table_6(newest, _outdated(gathered.home, _strategies(newest)))


def _read(path: Path) -> dict[str, Any]:
    """A study's submissions.json; InputError where it is damaged."""
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        raise InputError(f"{path}: not what va-search submissions writes; run it again")
    return document


def _command(gathered: Gathered, out: Path | None) -> str | None:
    """The command that writes the strategies' submissions; None where there are no test recordings
    or trials."""
    store = gathered.store
    if out is None or store is None or not store.split("test") or not gathered.scored:
        return None
    folder = free_name(f"{gathered.names[0]}-submissions", lambda name: Path(name).exists())
    return gathered.home.command("submissions", *gathered.names, "--out", folder)


def _strategies(document: Mapping[str, Any]) -> list[NotedStrategy]:
    return list(map(NotedStrategy.from_json, document["rows"]))


def _outdated(home: Home, strategies: Sequence[NotedStrategy]) -> list[str]:
    """A note for every strategy whose ensemble was built again since its submission was written."""
    notes = []
    for strategy in strategies:
        name = strategy.ensemble
        if not name or not strategy.content:
            continue
        # The content is a hash of members, weights and what follows them.
        try:
            content = content_id(read_ensemble(home, name))
        except InputError:
            content = None
        if content != strategy.content:
            notes.append(
                f"{strategy.name}: ensemble {name} was built again, or removed, "
                "after this submission was written; va-search submissions writes it again."
            )
    return notes


def table_6(document: Mapping[str, Any], remarks: Sequence[str] = ()) -> Table:
    """One row per submission, out of what submissions.json says; `remarks` are added to the notes.

    A strategy that could not be made has dashes and says why in a note. The test's columns say
    `withheld` where its labels were not at hand."""
    strategies = _strategies(document)
    withheld = document.get("labels") is None
    notes = [*filter(None, map(_measured, strategies))]
    for strategy in strategies:
        if strategy.problem:
            notes.append(f"{strategy.name} could not be made: {strategy.problem}")
    notes += remarks
    if withheld:
        notes.append(
            "Test: withheld; only the organisers can score on it, and whoever has the labels, with "
            "va-search submissions --labels FOLDER."
        )
    notes.append(
        "In-sample: on the very recordings that weights were chosen on, so too high; out-of-fold: "
        "chosen again without those judged on. Scores on different recordings don't compare."
    )
    targets = _targets(strategies)
    letters = _initials(targets)
    initials = " / ".join(letters.values())
    numbers = (
        f"Members\n{initials}",
        f"Validation, in-sample\n{initials} / score",
        f"Validation, out-of-fold\n{initials} / score",
        *[f"Test\n{name}" for name in measures(targets)],
    )
    return Table(
        TITLE,
        (*columns("", "Strategy"), *columns(*numbers, kind="number")),
        tuple(_row(strategy, targets, withheld) for strategy in strategies),
        lead=_lead(letters),
        notes=tuple(notes),
    )


def _targets(strategies: Sequence[NotedStrategy]) -> tuple[str, ...]:
    """Names of the targets that the strategies' ensembles have members for."""
    for strategy in strategies:
        if strategy.members:
            return tuple(strategy.members)
    return AFFECT


def _initials(targets: Sequence[str]) -> dict[str, str]:
    """The letter by which each target is named in the heads; its whole name where letters are not
    unique."""
    letters = {target: target[0].upper() for target in targets}
    if len(set(letters.values())) < len(letters):
        return {target: target for target in targets}
    return letters


def _lead(letters: Mapping[str, str]) -> str:
    """The score in words, with the targets and the letters that stand for them."""
    named = []
    for target, letter in letters.items():
        named.append(target if letter == target else f"{target} ({letter})")
    if len(named) == 1:
        return f"One target, {named[0]}, so the score is its CCC."
    count = "two" if len(named) == 2 else str(len(named))
    return f"Score: mean of the {count} targets, {', '.join(named[:-1])} and {named[-1]}."


def _row(strategy: NotedStrategy, targets: Sequence[str], withheld: bool) -> TableRow:
    members = DASH
    if strategy.members:
        members = " / ".join(str(strategy.members.get(name, DASH)) for name in targets)
    cells = [strategy.submission, strategy.name, members]
    names = measures(targets)
    for scores in (strategy.in_sample, strategy.out_of_fold):
        cells.append(" / ".join(_scores(scores, names)) if scores else DASH)
    if withheld and not strategy.problem:
        return row(*cells, *["withheld"] * len(names))
    return row(*cells, *_scores(strategy.test, names))


def _scores(scores: Scores, names: Sequence[str]) -> list[str]:
    return [number(scores.get(name)) for name in names]


def _measured(strategy: NotedStrategy) -> str:
    """The recordings of a strategy's validation scores, or why it has none."""
    name, fold, recordings = strategy.name, strategy.fold, strategy.recordings
    if fold is None or recordings is None:
        return ""
    if fold == ALL:
        predictor = "each predicted by the trial of its own fold"
        return f"{name}: validation is all {recordings} labelled recordings, {predictor}."
    if not recordings:
        return f"{name}: no validation score: {strategy.reason}."
    split = f"fold {fold}'s"
    if fold == "official":
        split = "the official split's"
    return f"{name}: validation is {split} {counted(recordings, 'recording')}."
