"""The whole report out of what was gathered: sections in the order they are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import counted
from va_search.files import Home
from va_search.report.chosen import Chosen, choose
from va_search.report.figures import predictions, settings, size, training
from va_search.report.gather import Gathered, gather
from va_search.report.model import Report, Section
from va_search.report.predicted import find_predicted
from va_search.report.summary import summary_section
from va_search.report.tables.ablation import ablation_tables
from va_search.report.tables.appendix import settings_table
from va_search.report.tables.folds import folds_table
from va_search.report.tables.members import members_table
from va_search.report.tables.overall import overall_table
from va_search.report.tables.studied import store_table, studies_table, unfinished_table
from va_search.report.tables.submissions import submissions_table


def assemble(
    home: Home,
    studies: Sequence[str],
    store: Store | None = None,
    *,
    ensemble: str | None = None,
    command: str = "",
    out: Path | None = None,
) -> Report:
    """Gather the studies and make every table and figure; what can't be filled says why.

    `out`: the report's folder, where the spaces of the commands that it names are written; without
    it none is named. InputError for unknown studies, an unknown ensemble, studies of several
    stores."""
    gathered = gather(home, studies, store)
    chosen = choose(home, gathered.names, ensemble)
    names = " + ".join(gathered.names)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = "" if gathered.store is None else f" on store {gathered.store.name}"
    sections = (
        summary_section(gathered, chosen),
        _studied(gathered),
        *_results(gathered, chosen, out),
        *_pictures(gathered, chosen),
        _made(gathered, command, made),
    )
    return Report(
        f"Report: {names}",
        f"{_counts(gathered)}{where}. Written {made} by va-search {__version__}.",
        sections,
    )


def _counts(gathered: Gathered) -> str:
    failed = sum(len(study.failed) for study in gathered.studies)
    missing = sum(len(study.missing) for study in gathered.studies)
    text = counted(len(gathered.trials), "complete trial")
    text += f", {failed} failed" if failed else ""
    return text + (f", {missing} missing" if missing else "")


def _studied(gathered: Gathered) -> Section:
    paragraphs = []
    if gathered.unscored:
        were = "trial was" if len(gathered.unscored) == 1 else "trials were"
        paragraphs.append(
            f"{len(gathered.unscored)} {were} trained without validation (train_val_mix): nothing is left to score on, "
            "so no table of scores lists them. Only the labels of the test recordings can show how good they are."
        )
    tables = [store_table(gathered), studies_table(gathered)]
    unfinished = unfinished_table(gathered)
    return Section(
        "What was studied", tuple(paragraphs), (*tables, *([unfinished] if unfinished else []))
    )


def _results(gathered: Gathered, chosen: Chosen, out: Path | None) -> tuple[Section, ...]:
    members = tuple(
        members_table(gathered, chosen, dimension) for dimension in ("valence", "arousal")
    )
    return (
        Section("Overall results", tables=(overall_table(gathered),)),
        Section("Ensemble", tables=members, figures=(size.size_figure(gathered),)),
        Section("Folds", tables=(folds_table(gathered, out),)),
        Section("Ablation", tables=ablation_tables(gathered, out)),
        Section("Submissions", tables=(submissions_table(gathered, out),)),
    )


def _pictures(gathered: Gathered, chosen: Chosen) -> tuple[Section, ...]:
    found = find_predicted(gathered, chosen)
    shown = (
        predictions.over_time(found),
        predictions.scatter(found),
        predictions.each_recording(found),
    )
    search = (
        training.learning_curves(gathered),
        settings.parallel_coordinates(gathered),
        settings.importance_figure(gathered),
    )
    return Section("Predictions", figures=shown), Section("Search", figures=search)


def _made(gathered: Gathered, command: str, made: str) -> Section:
    versions = {str(trial.package_version) for study in gathered.studies for trial in study.trials}
    trained = ", ".join(sorted(versions - {"None"})) or "unknown"
    paragraphs = [
        f"Written {made} by va-search {__version__}; the trials were trained by version {trained}."
    ]
    paragraphs += [f"Command: {command}"] if command else []
    return Section("How it was made", tuple(paragraphs), (settings_table(gathered),))
