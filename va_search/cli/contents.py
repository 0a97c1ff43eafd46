"""What a home holds, as tables: its studies and ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from va_search.api.home import check_home
from va_search.cli.output import Output
from va_search.errors import counted
from va_search.table import DASH, Table, columns, number, row

if TYPE_CHECKING:
    from va_search.api.contents import EnsembleEntry, StudyEntry
    from va_search.api.home import OpenHome


def show_contents(output: Output, home: OpenHome) -> None:
    """Show and hand out the home's studies and ensembles, and what is wrong with each."""
    from va_search.api.contents import home_contents

    check_home(home.files)
    contents = home_contents(home)
    if contents.studies:
        output.show(studies_table(contents.studies))
    if contents.ensembles:
        output.show(_ensembles_table(contents.ensembles))
    for study in contents.studies:
        for problem in study.problems:
            output.show(f"study {study.study}: {problem}")
    for ensemble in contents.ensembles:
        for problem in ensemble.problems:
            output.show(f"ensemble {ensemble.name}: {problem}")
    studies = counted(len(contents.studies), "study", "studies")
    output.show(f"{studies}, {counted(len(contents.ensembles), 'ensemble')}")
    if contents.studies:
        # The one that was searched last is the one that its owner is at.
        latest = max(contents.studies, key=lambda study: study.last_at or study.began_at or "")
        output.show(f"next: {home.files.command('status', latest.study)}")
    documents = [ensemble.document() for ensemble in contents.ensembles]
    output.done(
        {"studies": [_document(study) for study in contents.studies], "ensembles": documents}
    )


def studies_table(studies: Sequence[StudyEntry]) -> Table:
    """One row a study."""
    rows = []
    for study in studies:
        progress = study.progress
        planned = DASH if progress.planned is None else f"{progress.planned:,}"
        rows.append(
            row(
                study.study,
                f"{progress.complete:,}",
                planned,
                f"{progress.failed:,}",
                number(study.best_score),
                size_text(study.sizes.total.bytes),
                age_text(study.last_at or study.began_at) or DASH,
                study.state or DASH,
                ", ".join(study.ensembles) or DASH,
            )
        )
    counts = columns("Complete", "Planned", "Failed", "Best score", "Size", "Age", kind="number")
    heads = (*columns("Study"), *counts, *columns("State", "Ensembles"))
    notes = ("Best score: mean CCC of one trial on its validation. Age: since its last trial.",)
    return Table("Studies", heads, tuple(rows), notes=notes)


def _ensembles_table(ensembles: Sequence[EnsembleEntry]) -> Table:
    rows = []
    for ensemble in ensembles:
        size = size_text(ensemble.bytes)
        if ensemble.problem:
            rows.append(row(ensemble.name, DASH, "can't be read", DASH, size, DASH, DASH))
            continue
        score = number((ensemble.out_of_fold or {}).get("score"))
        studies = ", ".join(ensemble.studies)
        built = ensemble.built_at[:16].replace("T", " ")
        age = age_text(ensemble.built_at)
        rows.append(row(ensemble.name, studies, ensemble.recipe, score, size, age, built))
    heads = columns("Ensemble", "Studies", "Recipe")
    numbers = columns("Score", "Size", "Age", kind="number")
    title = "Ensembles (score: CCC on validation, out-of-fold)"
    return Table(title, (*heads, *numbers, *columns("Built (UTC)")), tuple(rows))


def _document(study: StudyEntry) -> dict[str, object]:
    return {
        **asdict(study.progress),
        "best_score": study.best_score,
        "bytes": study.sizes.total.bytes,
        "began_at": study.began_at,
        "last_at": study.last_at,
        "state": study.state,
        "of_ensembles": list(study.ensembles),
        "problems": list(study.problems),
    }


def age_text(moment: str | None) -> str:
    """`3 days`, `5 h`, `12 min` since a moment (ISO 8601, UTC); empty where it is not known."""
    try:
        began = datetime.fromisoformat(moment or "")
    except ValueError:
        return ""
    if began.tzinfo is None:
        began = began.replace(tzinfo=UTC)
    minutes = (datetime.now(UTC) - began).total_seconds() / 60
    if minutes < 120:
        return f"{max(0, minutes):.0f} min"
    hours = minutes / 60
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def size_text(size: int) -> str:
    """`0 B`, `312 B`, `4.2 kB`, `1.3 GB`: bytes, in powers of 1,000."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
