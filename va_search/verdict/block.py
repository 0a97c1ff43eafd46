"""The verdict on an ensemble as one block of rows, made once and shown everywhere: what to submit
and why, the score to expect, the best single trial, what is unfinished or out of date, and the
command that comes next.

Conventions: a row is a label and a sentence. "Best single trial per target" is each target's own
best trial, the one "for both" (or all targets) has the highest score, as a search prints it; scores
are out-of-fold unless a row says otherwise. The scores and members of an ensemble of members that were
trained again are those of the ensemble they were chosen in, and the row says so."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from va_search.ensemble.fresh import complete_trials, newer_trials
from va_search.ensemble.refit import REFIT
from va_search.ensemble.saved import Ensemble, MeasuredOn, known_ensembles, read_ensemble
from va_search.ensemble.verdict import (
    Verdict,
    baselines_sentence,
    single_noun,
    single_trials,
    verdict_of,
    within_recordings,
)
from va_search.errors import InputError
from va_search.home import Home
from va_search.table import (
    Table,
    columns,
    html_table,
    markdown_code,
    markdown_table,
    row,
    with_interval,
)
from va_search.table.plain_text import html_text
from va_search.trial import SCORE
from va_search.verdict.next_command import next_step
from va_search.verdict.stale import (
    newer_sentence,
    stale_of,
    stale_refits,
    store_problem,
    unfinished,
)

SUBMIT = "submit"
EXPECTED = "expected"
SINGLE = "best single trial"
TIME = "within a recording"
BASELINES = "baselines"
UNFINISHED = "unfinished"
OUT_OF_DATE = "out of date"
INDENT = 2
"""Columns before a row's label."""
COMMAND = ": va-search "
"""How a command follows its sentence."""
REASONS = {
    "better": "better than {single} by more than chance",
    "ahead": "ahead of {single}, but within chance",
    "same": "as good as {single}",
    "behind": "{single} has the higher score, though within chance",
    "worse": "{single} is better by more than chance",
}
"""Why the ensemble, or the best single trial in its place, by the verdict's outcome."""
REASONS_WITHOUT_CHANCE = {
    **REASONS,
    "ahead": "ahead of {single}; chance is not known",
    "behind": "{single} has the higher score; chance is not known",
}
"""Reasons for an ensemble of an earlier version, which has no interval of the difference."""


@dataclass(frozen=True)
class VerdictBlock:
    """Rows (label, sentence) on an ensemble, the most important first.

    `subject`: what is judged, such as `ensemble first-best`. `submit`: name of the ensemble to
    submit, which need not be built yet. `next_command`: one that works as printed from this folder;
    None where no command would."""

    subject: str
    verdict: Verdict
    rows: tuple[tuple[str, str], ...]
    submit: str
    next_command: str | None

    def lines(self, width: int | None = None) -> list[str]:
        """Lines of plain text: a heading and the rows, the sentences below each other.

        `width`: columns to wrap sentences at; a command stays in one line, to be copied."""
        room = max(len(label) for label, _ in self.rows)
        margin = " " * (INDENT + room + 2)
        lines = [f"verdict on {self.subject}"]
        for label, sentence in self.rows:
            start = f"{'':{INDENT}}{label:{room}}  "
            if width is None:
                lines.append(start + sentence)
                continue
            text, mark, command = sentence.partition(COMMAND)
            paragraph = text + mark[:1]
            lines += textwrap.wrap(
                paragraph,
                max(width, 2 * len(margin)),
                initial_indent=start,
                subsequent_indent=margin,
                break_long_words=False,
                break_on_hyphens=False,
            )
            if command:
                lines.append(margin + mark[2:] + command)
        return lines

    @property
    def text(self) -> str:
        """The lines, and the command that comes next."""
        lines = self.lines()
        if self.next_command is not None:
            lines.append(f"next: {self.next_command}")
        return "\n".join(lines)

    @property
    def table(self) -> Table:
        """The rows as a table."""
        heads = (*columns("Point"), *columns("Verdict", kind="long"))
        rows = tuple(row(label, sentence) for label, sentence in self.rows)
        return Table(f"Verdict on {self.subject}", heads, rows)

    @property
    def markdown(self) -> str:
        """The table, and the command that comes next."""
        lines = list(markdown_table(self.table))
        if self.next_command is not None:
            lines.append(f"next: {markdown_code(self.next_command)}")
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        """The table, and the command that comes next, as a notebook shows them."""
        lines = list(html_table(self.table))
        if self.next_command is not None:
            lines.append(f"<p>next: <code>{html_text(self.next_command)}</code></p>")
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **self.verdict.document(),
            "submit": self.submit,
            "rows": [list(row) for row in self.rows],
            "next_command": self.next_command,
        }


def verdict_block(home: Home, ensemble: Ensemble, options: Sequence[str] = ()) -> VerdictBlock:
    """The verdict on a saved ensemble of this home.

    `options`: those of the command that built it (such as `--data STORE`), which the next command
    needs too."""
    verdict = verdict_of(ensemble)
    complete = complete_trials(home, ensemble.studies)
    newer = newer_trials(home, ensemble, complete)
    step = next_step(home, ensemble, verdict, newer=newer, options=options)
    problem = store_problem(home, ensemble)
    rows = [(SUBMIT, submit_sentence(verdict, ensemble, step.submit))]
    rows += score_rows(_chosen_in(home, ensemble))
    rows += [(UNFINISHED, sentence) for sentence in unfinished(home, complete)]
    late = [
        newer_sentence(ensemble, newer),
        *stale_of(home, ensemble),
        *stale_refits(home, ensemble),
        problem,
    ]
    rows += [(OUT_OF_DATE, sentence) for sentence in late if sentence is not None]
    # On a store that is gone or another one the command would be refused.
    command = step.command if problem is None or options else None
    return VerdictBlock(f"ensemble {ensemble.name}", verdict, tuple(rows), step.submit, command)


def submit_sentence(verdict: Verdict, ensemble: Ensemble, name: str) -> str:
    """The name to submit and one reason."""
    if verdict.outcome == "unknown":
        if ensemble.recipe_document.get("method") == REFIT:
            source = ensemble.recipe_document["of"]
            return (
                f"{name}: the members of {source}, trained again on everything labelled; nothing "
                "is left to score them on"
            )
        return f"{name}: {verdict.text[:1].lower()}{verdict.text[1:].removesuffix('.')}"
    reason = reason_of(verdict, ensemble.measured_on)
    if verdict.not_beaten:
        targets = " and ".join(verdict.not_beaten)
        reason += f"; for {targets} a baseline that needs no training is as good or better"
    if not verdict.use_best:
        return f"{name}: {reason}"
    return f"{name} (recipe best), not {ensemble.name}: {reason}"


def reason_of(verdict: Verdict, measured_on: MeasuredOn) -> str:
    """The outcome against the best single trial in a few words."""
    reasons = REASONS if verdict.interval is not None else REASONS_WITHOUT_CHANCE
    reason = reasons.get(verdict.outcome, "whether it is better than {single} is not known")
    return reason.format(single=f"the best single {single_noun(measured_on)} per target")


def score_rows(ensemble: Ensemble) -> Iterator[tuple[str, str]]:
    """Rows on scores: expected ones, the best single trials, time within recordings, baselines."""
    expected = expected_sentence(ensemble)
    if expected is not None:
        yield EXPECTED, expected
    single = single_trials(ensemble)
    if single is not None:
        yield SINGLE, single
    sentences = []
    for target, weighted in ensemble.dimensions.items():
        if weighted.per_recording is not None:
            pooled = weighted.scores.out_of_fold
            sentences.append(within_recordings(target, pooled, weighted.per_recording))
    if any(sentences):
        yield TIME, "; ".join(sentence for sentence in sentences if sentence)
    baselines = baselines_sentence(ensemble)
    if baselines is not None:
        yield BASELINES, baselines


def expected_sentence(ensemble: Ensemble) -> str | None:
    """Scores expected on other people, each target's and their mean, with intervals; None where
    nothing is known out-of-fold."""
    scores = ensemble.scores.get("out_of_fold")
    whom = ensemble.measured_on.generalises_to or "unseen people"
    _, _, clips = whom.partition(", ")
    beside = f" and {clips}" if clips else ""
    estimate = ensemble.estimate
    if estimate is not None:
        as_many = "as many as the test set has" if estimate.tested else "as many as were scored"
        people = estimate.title.removeprefix("Expected ")
        return (
            f"{_scores(estimate.scores, estimate.intervals)}, {people}{beside}, {as_many} (CCC of "
            f"{estimate.ensemble}, 95 % interval)"
        )
    if scores is None:
        return None
    # Of an ensemble that an earlier version saved.
    intervals = (ensemble.intervals or {}).get("ensemble") or {}
    on = whom.replace(", ", " and ")
    return (
        f"{_scores(scores, intervals)}, on {on} (out-of-fold CCC of {ensemble.name}, 95 % interval)"
    )


def _scores(scores: dict[str, float], intervals: dict[str, Any]) -> str:
    """`valence 0.59 (0.39 to 0.75), …`, the score last; of one target without it, which is its
    CCC."""
    texts = []
    for name, score in scores.items():
        if name != SCORE or len(scores) > 2:
            texts.append(f"{name} {with_interval(score, intervals.get(name))}")
    return ", ".join(texts)


def _chosen_in(home: Home, ensemble: Ensemble) -> Ensemble:
    """The ensemble that members were chosen and scored in: that which their training again is of,
    where it is there, else the ensemble itself."""
    source = ensemble.recipe_document.get("of")
    is_refit = ensemble.recipe_document.get("method") == REFIT
    if not is_refit or source not in known_ensembles(home):
        return ensemble
    try:
        return read_ensemble(home, source)
    except InputError:
        return ensemble
