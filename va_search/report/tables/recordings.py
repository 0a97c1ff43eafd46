"""The recordings that are predicted best and worst."""

from __future__ import annotations

from va_search.report.figures.predictions import PredictedCurves, RecordingCurves
from va_search.report.words import heading, mean_ccc
from va_search.table import Missing, Table, TableRow, columns, number, row

TITLE = "The best and the worst recordings"
SHOWN = 5
"""Recordings at each end."""


def recordings_table(curves: PredictedCurves | str, command: str | None = None) -> Table:
    """CCCs of the best and the worst recordings, each by itself; a text instead of curves says why
    there are none. `command`: the one that shows all of them over time."""
    if isinstance(curves, str):
        return Table(TITLE, missing=Missing(curves))
    ranked = curves.ranked
    if not ranked:
        return Table(TITLE, missing=Missing(curves.why_unranked))
    has_stimuli = any(each.recording.stimulus is not None for each in ranked)
    rows = []
    between = len(ranked) - 2 * SHOWN
    for rank, recording in enumerate(ranked, start=1):
        if between > 0 and rank == SHOWN + 1:
            rows.append(row(f"{between:,} more between them", kind="group"))
        if rank <= SHOWN or rank > len(ranked) - SHOWN:
            rows.append(_row(rank, recording, has_stimuli=has_stimuli))
    unranked = len(curves.recordings) - len(ranked)
    notes = [f"Ranked by {mean_ccc(curves.target_names)} of each recording by itself."]
    if unranked:
        notes.append(
            f"{unranked} of {len(curves.recordings)} have no rank: an annotation does not vary "
            "there, or has no label."
        )
    if command is not None:
        notes.append("Every recording over time, with its annotation and all members:")
    about = ["Person", "Stimulus"] if has_stimuli else ["Person"]
    scores = ["Mean CCC"] if len(curves.targets) > 1 else []
    heads = (
        *columns("Recording"),
        *columns("Rank", kind="number"),
        *columns(*about),
        *columns("Seconds", *map(heading, curves.target_names), *scores, kind="number"),
    )
    return Table(TITLE, heads, tuple(rows), f"{curves.title}.", notes=tuple(notes), command=command)


def _row(rank: int, curves: RecordingCurves, *, has_stimuli: bool) -> TableRow:
    recording = curves.recording
    about = [recording.subject]
    if has_stimuli:
        about.append(recording.stimulus or "")
    cccs = list(curves.cccs)
    if len(cccs) > 1:
        cccs.append(curves.mean_ccc)
    seconds = f"{recording.frames / recording.frames_per_second:,.0f}"
    return row(recording.name, str(rank), *about, seconds, *map(number, cccs))
