"""An ensemble in a report and on the screen: Tables 2 and 3 (paper 4.4), and its scores.

Conventions: every CCC says what it was measured on; an interval of 95 % follows its score in
brackets. In bold stands what is better out-of-fold by more than chance: the ensemble or the best
single trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from va_search.data.baselines import TITLES
from va_search.ensemble.saved import (
    Ensemble,
    EnsembleMember,
    MeasuredOn,
    ScoreIntervals,
    Scores,
    ScoresByMeasure,
    Weighted,
)
from va_search.ensemble.verdict import verdict_of, within_recordings
from va_search.errors import counted
from va_search.models.menu import FUSIONS
from va_search.report.chosen import ChosenEnsemble, ensemble_targets, sentence
from va_search.report.gather import Gathered
from va_search.report.suggest import free_name
from va_search.report.words import (
    ELSEWHERE,
    all_targets,
    encoder_title,
    first_names,
    heading,
    measures,
    other_settings,
    score_columns,
    varying,
)
from va_search.table import (
    DASH,
    Missing,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    columns,
    number,
    row,
    signed,
    signed_with_interval,
    with_interval,
)
from va_search.trial import ALL
from va_search.trial_settings import TrialSettings

PAPER_TABLES = {"valence": "Table 2", "arousal": "Table 3"}
"""Targets whose members have a number in the paper."""
MOST_MEMBERS = 60
"""Members that are listed, by weight."""
MOST_NAMES = 8
"""Other ensembles that are named."""
BEST_EPOCHS = (
    "Out-of-fold and in-sample scores are slightly too high, because each trial chose its best "
    "epoch on the same recordings, unless its setting `keep` is another than best."
)


def ensemble_tables(gathered: Gathered, chosen: ChosenEnsemble) -> list[Table]:
    """Tables 2 and 3 and the scores; without an ensemble, why, and how to build one."""
    targets = gathered.targets
    if chosen.ensemble is not None:
        targets = ensemble_targets(chosen.ensemble)
    tables = [members_table(gathered, chosen, target) for target in targets]
    # Without an ensemble one reason is enough: that of Tables 2 and 3.
    if chosen.ensemble is not None:
        remarks = [f"Not readable: {problem}" for problem in chosen.problems]
        if chosen.passed_over:
            names = first_names(chosen.passed_over, MOST_NAMES)
            shown = "Other ensembles of these studies, shown with --ensemble NAME"
            remarks.append(f"{shown}: {names}.")
        tables += scores_tables(chosen.ensemble, remarks)
    return tables


def members_table(gathered: Gathered, chosen: ChosenEnsemble, target: str) -> Table:
    """One target's members in the chosen ensemble; without one, why, and how to build one."""
    if chosen.ensemble is not None:
        known = {trial.id: trial.settings for trial in gathered.trials if trial.settings}
        return target_table(chosen.ensemble, target, known)
    reasons = ["No saved ensemble has its members from these studies alone.", *chosen.problems]
    command = None
    if gathered.scored:
        home, studies = gathered.home, gathered.names
        name = free_name(f"{studies[0]}-best", lambda name: home.ensemble(name).exists())
        command = home.command("ensemble", *studies, "--name", name)
    return Table(_title(target), missing=Missing(" ".join(reasons), command))


def _title(target: str) -> str:
    """`Table 2: members and ensemble for valence`; without a number where the paper has none."""
    title = f"members and ensemble for {target}"
    if target in PAPER_TABLES:
        return f"{PAPER_TABLES[target]}: {title}"
    return heading(title)


# Tables 2 and 3 -----------------------------------------------------------------------------------


def target_table(
    ensemble: Ensemble, target: str, known: Mapping[str, TrialSettings] | None = None
) -> Table:
    """Members by weight, then the best single trials and the ensemble, in-sample and out-of-fold.

    Of a blend the members of all parts, with weights as shares of the whole. `known` settings by
    trial: those that differ among the members have a column, where any are known."""
    rows: list[TableRow] = []
    notes = []
    pieces = ensemble.pieces
    settings_of_members = _settings_by_trial(ensemble, target, known or {})
    names = varying(settings_of_members.values())
    for share, piece in pieces:
        weighted = piece.dimensions[target]
        of = target
        if len(pieces) > 1:
            rows.append(row(f"{piece.name}, {share:.0%} of the whole", kind="group"))
            of = f"{target} in {piece.name}"
        rows += _member_rows(weighted, share, many_studies=len(piece.studies) > 1)
        notes.append(f"Weighted sum of {of}: {_finishing(weighted)}.")
        notes += _single_recordings(weighted, target)
    rows += _closing_rows(ensemble, target)
    if ensemble.scores.get("in_sample"):
        notes.append(_bold(ensemble, target))
    heads: tuple[TableColumn, ...] = columns("Features", kind="list")
    if names:
        heads += columns("Settings that differ", kind="long")
        rows = [_with_settings(each, names, settings_of_members) for each in rows]
    measured = (f"{heading(target)},\nin-sample", f"{heading(target)},\nout-of-fold")
    return Table(
        _title(target),
        (
            *columns("Model"),
            *heads,
            *columns("Seed", "Weight", "Gain,\nout-of-fold", *measured, kind="number"),
            *columns("Trial"),
        ),
        tuple(rows),
        lead=_lead(ensemble, target),
        notes=tuple(notes),
        mark="late fusion; others: early fusion, unless another is named",
    )


def _lead(ensemble: Ensemble, target: str) -> str:
    name = f"Ensemble {ensemble.name}, recipe {ensemble.recipe}"
    if ensemble.parts:
        parts = []
        for part in ensemble.parts:
            parts.append(f"{part.share:g} × {part.ensemble.name}")
        blend = "A blend, the weighted mean of whole ensembles; weights are shares of the whole."
        return f"{name}: {', '.join(parts)}. {blend}"
    members = len(ensemble.dimensions[target].members)
    taken = f"{members} of {counted(ensemble.candidates, 'candidate')}"
    return f"{name}: {taken}. {measured_sentences(ensemble.measured_on)[0]}"


def _member_rows(weighted: Weighted, share: float, *, many_studies: bool) -> list[TableRow]:
    ranked = sorted(weighted.members, key=lambda member: -member.weight)
    rows = []
    for member in ranked[:MOST_MEMBERS]:
        rows.append(
            row(
                TableCell(_model(member), mark=member.fusion == "late"),
                ", ".join(member.features or [DASH]),
                str(DASH if member.seed is None else member.seed),
                number(member.weight * share),
                signed(member.gain),
                number(member.ccc),
                DASH,
                _trial_cell(member.study, member.trial, many_studies),
            )
        )
    # Bagging and averaging may give hundreds of members a little weight each.
    unlisted = ranked[MOST_MEMBERS:]
    if unlisted:
        weight = number(sum(member.weight for member in unlisted) * share)
        rows.append(row(f"… and {len(unlisted)} more, together", "", "", weight, "", "", "", ""))
    return rows


def _settings_by_trial(
    ensemble: Ensemble, target: str, known: Mapping[str, TrialSettings]
) -> dict[str, TrialSettings]:
    """The settings of all members by the name of the member; those that are not known are not in
    it."""
    settings = {}
    for _, piece in ensemble.pieces:
        for member in piece.dimensions[target].members:
            # The trials of a configuration over folds differ in nothing but the fold.
            for trial in (member.trial, *(member.trials or {}).values()):
                if trial in known:
                    settings[member.trial] = known[trial]
                    break
    return settings


def _with_settings(
    each: TableRow, names: Sequence[str], settings: Mapping[str, TrialSettings]
) -> TableRow:
    """A row with a cell of the settings `names` behind that of its features; empty in rows that are
    no member's."""
    if each.kind == "group":
        return each
    *_, trial = each.cells
    text = ""
    if each.kind == "plain":
        text = other_settings(settings.get(trial.text.rpartition("/")[2]), names)
    return TableRow((*each.cells[:2], TableCell(text), *each.cells[2:]), each.kind)


def _model(member: EnsembleMember) -> str:
    if member.encoder is None:
        return ELSEWHERE
    model = encoder_title(member.encoder)
    if member.fusion not in (None, "early", "late"):
        model += f", {FUSIONS.title(member.fusion)}"
    if member.source == "folds":
        model += f" over {len(member.trials or {}) or 'all'} folds"
    return model


def _trial_cell(study: str, trial: str, many_studies: bool) -> TableCell:
    return TableCell(f"{study}/{trial}" if many_studies else trial, code=True)


def _closing_rows(ensemble: Ensemble, target: str) -> list[TableRow]:
    """The best single trials, where they are known, and the ensemble.

    They are not known of a blend: its parts may be measured on different recordings.
    """
    many_studies = len(ensemble.studies) > 1
    outcome = verdict_of(ensemble).dimensions[target]
    rows = []
    weighted = ensemble.dimensions.get(target)
    scores = _scores_of(ensemble.scores, target)
    if weighted is not None:
        scores = weighted.scores
        both, single = ensemble.best_for_both, weighted.best_single
        targets = ensemble_targets(ensemble)
        # With one target the best trial for all of them is the best one for it.
        if both is not None and len(targets) > 1:
            label = f"Best single trial for {all_targets(targets)}"
            both_scores = _scores_of(both.scores, target, both.intervals)
            trial = _trial_cell(both.study, both.trial, many_studies)
            rows.append(_closing_row(label, both_scores, trial))
        if single is not None:
            label = f"Best single trial for {target}"
            trial = _trial_cell(single.study, single.trial, many_studies)
            rows.append(_closing_row(label, single.scores, trial, best=outcome == "worse"))
    label = "Ensemble"
    if scores.in_sample is None and scores.out_of_fold is None:
        label += " (no validation to score it on)"
    rows.append(_closing_row(label, scores, TableCell(""), best=outcome == "better"))
    return rows


def _scores_of(
    scores: Mapping[str, Mapping[str, float] | None],
    target: str,
    intervals: Mapping[str, tuple[float, float] | None] | None = None,
) -> Scores:
    """One target of what was measured in-sample and out-of-fold."""
    return Scores(
        in_sample=(scores.get("in_sample") or {}).get(target),
        out_of_fold=(scores.get("out_of_fold") or {}).get(target),
        interval=(intervals or {}).get(target),
    )


def _closing_row(label: str, scores: Scores, trial: TableCell, *, best: bool = False) -> TableRow:
    out_of_fold = TableCell(with_interval(scores.out_of_fold, scores.interval), best=best)
    in_sample = number(scores.in_sample)
    return row(label, "", "", "", "", in_sample, out_of_fold, trial, kind="total")


def _finishing(weighted: Weighted) -> str:
    """The steps that follow the members' weights, in words."""
    # In the order in which they are applied (`ensemble.post_processing`); what does nothing is left out.
    post = weighted.post
    steps = []
    if weighted.takes:
        steps.append(f"recipe {weighted.takes}")
    if weighted.shrink:
        toward = "equal ones"
        if weighted.recipe.get("toward") == "nnls":
            toward = "those of least squares"
        steps.append(f"weights shrunk {weighted.shrink:g} of the way to {toward}")
    if post.smoothing != "none" and post.window_seconds:
        steps.append(f"smoothed ({post.smoothing.replace('_', ' ')}, {post.window_seconds:g} s)")
    if post.delay_seconds:
        steps.append(f"delayed by {post.delay_seconds:g} s")
    if post.scale != 1.0 or post.offset != 0.0:
        offset = signed(post.offset)
        steps.append(f"matched (× {post.scale:.3f} {offset[0]} {offset[1:]})")
    return ", ".join(steps) or "as it is"


def _single_recordings(weighted: Weighted, target: str) -> list[str]:
    """Quartiles of the recordings' own CCCs, and what they mean."""
    spread = weighted.per_recording
    if spread is None:
        return []
    quartiles = f"quartiles {number(spread.low)} and {number(spread.high)}"
    text = f"Single recordings, out-of-fold: median CCC {number(spread.median)}, {quartiles}"
    if spread.undefined:
        text += f"; not defined in {spread.undefined}"
    notes = [f"{text}."]
    meaning = within_recordings(target, weighted.scores.out_of_fold, spread)
    if meaning:
        notes.append(sentence(meaning))
    return notes


def _bold(ensemble: Ensemble, target: str) -> str:
    """The meaning of bold in this table, or the reason why there is none."""
    outcome = verdict_of(ensemble).dimensions[target]
    if outcome in ("better", "worse"):
        return "In bold: better than the other, ensemble or best single trial, by more than chance."
    if outcome == "unknown":
        unknown = "whether the ensemble is better than the best single trial is not known"
        return f"Nothing is in bold: {unknown}."
    within = "the difference between the ensemble and the best single trial is within chance"
    return f"Nothing is in bold: {within}."


# Scores -------------------------------------------------------------------------------------------


def scores_tables(ensemble: Ensemble, remarks: Sequence[str] = ()) -> list[Table]:
    """Scores of a blend's parts, then of the ensemble; `remarks` stand below the last."""
    tables: list[Table] = []
    for part in ensemble.parts:
        tables += scores_tables(part.ensemble)
    return [*tables, _scores_table(ensemble, remarks)]


def _scores_table(ensemble: Ensemble, remarks: Sequence[str]) -> Table:
    """The best single trials against the ensemble: out-of-fold first, then in-sample.

    Per target is each target's own best trial, for both (all targets) is one trial, by its mean; a
    difference is paired. Below stands what the numbers were measured on, and `remarks`."""
    title = f"CCC on validation: ensemble {ensemble.name} and the best single trials"
    if ensemble.measured_on.fold == ALL:
        title += ", every recording by its own fold's trial"
    notes = [*_member_notes(ensemble), *remarks]
    if not ensemble.scores.get("in_sample"):
        return Table(title, notes=tuple(notes), missing=Missing(_no_score(ensemble)))
    targets = ensemble_targets(ensemble)
    subjects = _subjects(ensemble)
    rows = []
    names = measures(targets)
    if ensemble.estimate is not None:
        estimate = ensemble.estimate
        texts = score_texts(estimate.scores, estimate.intervals, names)
        rows.append(row(estimate.title, "estimate", *texts))
    # Then what was measured: out-of-fold is the honest one, and has intervals.
    for label, scores, around in subjects:
        rows.append(
            row(label, "out-of-fold", *score_texts(scores.get("out_of_fold"), around, names))
        )
    if ensemble.differences:
        texts = [DASH] * len(names)
        for index, name in enumerate(names):
            if name in ensemble.differences:
                difference = ensemble.differences[name]
                texts[index] = signed_with_interval(difference.value, difference.interval)
        rows.append(row("Ensemble − per target", "out-of-fold", *texts))
    for name, cccs in (ensemble.baselines or {}).items():
        values = [number(cccs.get(measure)) for measure in names]
        rows.append(row(f"Baseline: {TITLES[name]}", "out-of-fold", *values))
    for label, scores, _ in subjects:
        rows.append(row(label, "in-sample", *score_texts(scores.get("in_sample"), None, names)))
    heads = (*columns("", "Measured"), *score_columns(targets))
    lead, *measured = measured_sentences(ensemble.measured_on)
    if ensemble.estimate is not None:
        measured.insert(0, ensemble.estimate.sentence)
    return Table(title, heads, tuple(rows), lead, (*measured, *notes))


def _subjects(
    ensemble: Ensemble,
) -> list[tuple[str, ScoresByMeasure, ScoreIntervals | None]]:
    """Title, scores and intervals of the best single trials, where they are known, and of the
    ensemble."""
    single = "Best single trial"
    if ensemble.measured_on.fold == ALL:
        single = "Best configuration"
    intervals = ensemble.intervals or {}
    subjects = []
    both = ensemble.best_for_both
    targets = ensemble_targets(ensemble)
    if both is not None and len(targets) > 1:
        subjects.append((f"{single} for {all_targets(targets)}", both.scores, both.intervals))
    if not ensemble.parts:
        per_target = intervals.get("best_single")
        subjects.append((f"{single} per target", ensemble.best_single, per_target))
    subjects.append((f"Ensemble {ensemble.name}", ensemble.scores, intervals.get("ensemble")))
    return subjects


def _no_score(ensemble: Ensemble) -> str:
    """The reason why an ensemble has no score of its own, and what is expected of it all the
    same: what was expected of the one that its members and weights are of."""
    reason = f"There is no validation score: {ensemble.measured_on.reason}."
    if ensemble.estimate is None:
        return reason
    return f"{reason} {ensemble.estimate.text}"


def score_texts(
    scores: Mapping[str, float] | None,
    intervals: Mapping[str, tuple[float, float] | None] | None,
    names: Sequence[str],
) -> list[str]:
    """The scores of these names (targets, and "score"), each with its interval where there is one."""
    texts = []
    for name in names:
        texts.append(with_interval((scores or {}).get(name), (intervals or {}).get(name)))
    return texts


def measured_sentences(measured: MeasuredOn) -> list[str]:
    """The recordings that scores were measured on, then what out-of-fold and in-sample mean."""
    if not measured.recordings:
        return [f"There is no validation score: {measured.reason}."]
    split = f"fold {measured.fold}"
    if measured.fold == "official":
        split = "the official validation split"
    elif measured.fold == ALL:
        split = "all folds, each recording predicted by the trial that did not train on it"
    recordings = counted(measured.recordings, "recording")
    frames = counted(measured.labelled_frames, "labelled frame")
    whom = "" if measured.generalises_to is None else f"; {measured.generalises_to}"
    sentences = [f"Measured on {split}: {recordings}, {frames}{whom}."]
    # The reason says why the recordings could not be put into folds, such as one person only.
    if measured.reason:
        return [
            *sentences,
            f"In-sample only, no out-of-fold score: {measured.reason}; in-sample is too high, by "
            "an unknown amount.",
        ]
    interval = "the 95 % interval"
    if measured.groups is not None:
        interval += f" over {measured.groups} such groups"
    return [
        *sentences,
        f"Out-of-fold: the whole recipe again in each of {measured.folds} folds, without the "
        f"recordings scored (those of one {measured.kept_together} kept together); in brackets "
        f"{interval}, of the CCC on very many people.",
        "In-sample: on the frames that epochs, members and weights were chosen on, so too high.",
    ]


def _member_notes(ensemble: Ensemble) -> list[str]:
    """Remarks on the members: best epochs, trials that could not be one, the build's own notes."""
    notes = []
    # Models from elsewhere may have chosen their epochs on other recordings.
    sources = set()
    for weighted in ensemble.dimensions.values():
        sources |= {member.source for member in weighted.members}
    chose_epochs = bool(sources & {"trained", "folds"})
    if ensemble.estimate is not None:
        chose_epochs = bool(ensemble.estimate.too_high)
    if ensemble.scores.get("in_sample") and chose_epochs:
        notes.append(BEST_EPOCHS)
    notes += left_out_sentences(ensemble.left_out)
    if not ensemble.parts:
        notes += map(sentence, ensemble.notes)
    return notes


def left_out_sentences(left_out: Mapping[str, int]) -> list[str]:
    """Trials that could not be a member, by reason."""
    sentences = []
    for reason, count in left_out.items():
        sentences.append(f"{counted(count, 'trial')} left out: {reason}.")
    return sentences
