"""Tables 2 and 3: members and ensemble of one dimension, late fusion marked (paper 4.4)."""

from __future__ import annotations

from va_search.ensemble.saved import Ensemble, EnsembleMember, Single, SingleForBoth, Weighted
from va_search.ensemble.verdict import verdict_of
from va_search.errors import counted
from va_search.models.menu import ENCODERS
from va_search.report.chosen import Chosen
from va_search.report.gather import Gathered
from va_search.report.model import DASH, Cell, Column, Missing, Row, Table, columns, row
from va_search.report.suggest import free_ensemble
from va_search.report.words import ELSEWHERE, number

NUMBERED = {"valence": 2, "arousal": 3}
SCORES = ("in-sample", "out-of-fold")
MOST = 60
"""Members that are listed, by weight."""


def members_table(gathered: Gathered, chosen: Chosen, dimension: str) -> Table:
    """Members with weight, then the best single trial and the ensemble, in-sample and
    out-of-fold."""
    ensemble = chosen.ensemble
    title = f"Table {NUMBERED[dimension]}: members and ensemble for {dimension}"
    if ensemble is None:
        why = "No saved ensemble has its members from these studies alone."
        name = free_ensemble(gathered, f"{gathered.names[0]}-best")
        command = (
            gathered.home.command("ensemble", *gathered.names, "--name", name)
            if gathered.scored
            else None
        )
        return Table(title, missing=Missing(" ".join([why, *chosen.problems]), command))
    pieces = ensemble.pieces
    rows: list[Row] = []
    for share, piece in pieces:
        if len(pieces) > 1:
            rows.append(row(f"{piece.name}, {share:.0%} of the whole", kind="group"))
        rows += _member_rows(piece.dimensions[dimension], share, many=len(piece.studies) > 1)
    rows += _closing(
        ensemble, pieces[0][1].dimensions[dimension] if len(pieces) == 1 else None, dimension
    )
    numbers = ("Seed", "Weight", *(f"{dimension.capitalize()}, {each}" for each in SCORES))
    return Table(
        title,
        (*columns("Model", "Features", numbers=numbers), Column("Trial")),
        tuple(rows),
        lead=f"Ensemble {ensemble.name}, recipe {ensemble.recipe}. {_measured(ensemble)}",
        notes=tuple(_notes(ensemble, chosen, dimension)),
    )


def _member_rows(part: Weighted, share: float, *, many: bool) -> list[Row]:
    ranked = sorted(part.members, key=lambda member: -member.weight)
    rows = [_member_row(member, share, many=many) for member in ranked[:MOST]]
    rest = ranked[MOST:]
    if rest:
        weight = sum(member.weight for member in rest) * share
        rows.append(
            row(f"… and {len(rest)} more with a weight of {number(weight)} together", kind="group")
        )
    return rows


def _member_row(member: EnsembleMember, share: float, *, many: bool) -> Row:
    model = ELSEWHERE if member.encoder is None else ENCODERS.title(member.encoder)
    if member.source == "folds":
        model += f" over {len(member.trials or {}) or 'all'} folds"
    return row(
        Cell(model, mark=member.fusion == "late"),
        ", ".join(member.features or [DASH]),
        DASH if member.seed is None else str(member.seed),
        number(member.weight * share),
        number(member.ccc),
        DASH,
        Cell(f"{member.study}/{member.trial}" if many else member.trial, code=True),
    )


def _closing(ensemble: Ensemble, part: Weighted | None, dimension: str) -> list[Row]:
    """The best single trials, where they are known, and the ensemble.

    In bold, out-of-fold, what is better than the other by more than chance: the ensemble or the
    best single trial."""
    rows = []
    many = len(ensemble.studies) > 1
    single = None if part is None else part.best_single
    outcome = verdict_of(ensemble).dimensions[dimension]
    if part is not None and ensemble.best_for_both is not None:
        rows.append(_both_row(ensemble.best_for_both, dimension, many=many))
    if single is not None:
        rows.append(_single_row(single, dimension, many=many, best=outcome == "worse"))
    if part is not None:
        pair = [
            number(part.scores.in_sample),
            _with_interval(part.scores.out_of_fold, part.scores.interval),
        ]
    else:
        pair = [
            number((ensemble.scores.get(each) or {}).get(dimension))
            for each in ("in_sample", "out_of_fold")
        ]
    label = (
        "Ensemble"
        if any(one != DASH for one in pair)
        else "Ensemble (no validation to score it on)"
    )
    cells = (Cell(pair[0]), Cell(pair[1], best=outcome == "better"))
    rows.append(row(label, "", "", "", *cells, "", kind="total"))
    return rows


def _single_row(single: Single, dimension: str, *, many: bool, best: bool) -> Row:
    scores = single.scores
    trial = Cell(f"{single.study}/{single.trial}" if many else single.trial, code=True)
    out_of_fold = Cell(_with_interval(scores.out_of_fold, scores.interval), best=best)
    label = f"Best single trial for {dimension}"
    return row(label, "", "", "", number(scores.in_sample), out_of_fold, trial, kind="total")


def _both_row(both: SingleForBoth, dimension: str, *, many: bool) -> Row:
    trial = Cell(f"{both.study}/{both.trial}" if many else both.trial, code=True)
    in_sample = (both.scores.get("in_sample") or {}).get(dimension)
    out_of_fold = (both.scores.get("out_of_fold") or {}).get(dimension)
    interval = (both.intervals or {}).get(dimension)
    pair = (number(in_sample), _with_interval(out_of_fold, interval))
    return row("Best single trial for both", "", "", "", *pair, trial, kind="total")


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None or interval is None:
        return number(value)
    return f"{number(value)} ({number(interval[0], 2)} to {number(interval[1], 2)})"


def _measured(ensemble: Ensemble) -> str:
    if len(ensemble.pieces) > 1:
        return "A blend: the weighted mean of whole ensembles; weights are shares of the whole."
    on = ensemble.measured_on
    if not ensemble.scores.get("in_sample"):
        return "Its members trained on every labelled recording, so nothing is left to score on."
    where = {
        "official": "the official validation split",
        "all": "every labelled recording, out of the folds' training",
    }
    place = where.get(str(on.fold), f"the validation recordings of fold {on.fold}")
    return f"Measured on {place}: {counted(on.recordings, 'recording')}, {on.labelled_frames:,} labelled frames."


def _bold(ensemble: Ensemble, dimension: str) -> str:
    """What is in bold, or why nothing is."""
    outcome = verdict_of(ensemble).dimensions[dimension]
    if outcome in ("better", "worse"):
        return "In bold: better than the other, ensemble or best single trial, by more than chance."
    if outcome == "unknown":
        return "Nothing is in bold: whether the ensemble is better than the best single trial is not known."
    return "Nothing is in bold: the difference between the ensemble and the best single trial is within chance."


def _notes(ensemble: Ensemble, chosen: Chosen, dimension: str) -> list[str]:
    notes = ["Underlined: late fusion; all others: early fusion."]
    if ensemble.scores.get("in_sample"):
        notes.append(
            "In-sample: on the frames that epochs, members and weights were chosen on, so too high. Out-of-fold: "
            "members and weights chosen again without the recordings they are judged on; in brackets the 95 % interval."
        )
        notes.append(_bold(ensemble, dimension))
    if len(ensemble.pieces) == 1 and ensemble.measured_on.reason:
        notes.append(f"No out-of-fold score: {ensemble.measured_on.reason}.")
    notes += [
        f"Not a candidate: {counted(count, 'trial')} ({reason})."
        for reason, count in ensemble.left_out.items()
    ]
    if chosen.others:
        names = ", ".join(sorted(chosen.others)[:8])
        notes.append(f"Other ensembles of these studies, shown with --ensemble NAME: {names}.")
    return notes + [f"Not readable: {problem}" for problem in chosen.problems]
