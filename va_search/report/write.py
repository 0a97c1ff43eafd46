"""A report: gathered, put together, and written as DIR/report.md and DIR/report.html.

    DIR/report.md, DIR/report.html    replaced by the next call

Conventions: every file appears whole. Nothing else in DIR is touched, and a file under one of these
names that no report wrote is never replaced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError, counted
from va_search.files import whole_file
from va_search.home import Home
from va_search.report import pages
from va_search.report.chosen import choose_ensemble, summary_paragraphs
from va_search.report.figures import predictions, progress, settings, size
from va_search.report.gather import Gathered, gather
from va_search.report.pages import MARK, Section, StudyReport
from va_search.report.tables.ablation import ablation_tables
from va_search.report.tables.ensemble import ensemble_tables
from va_search.report.tables.folds import folds_table
from va_search.report.tables.studies import store_table, studies_table
from va_search.report.tables.submissions import submissions_table
from va_search.report.tables.trials import overall_table, settings_table, unfinished_table

PAGES = (".html", ".htm", ".md", ".pdf")
"""Endings of files, which no report's folder has."""


def write(
    home: Home,
    studies: Sequence[str],
    *,
    store: Store | None = None,
    out: Path,
    ensemble: str | None = None,
    command: str = "",
) -> Path:
    """Report on `studies` into the folder `out`; return the path of report.html.

    `store`: what they were made on; None takes the one they name. `ensemble`: the one that Tables 2
    and 3 show; None takes the newest that these studies feed. `command`: how the report says it was
    made. InputError for unknown studies or ensembles, and for an `out` that holds a file of these
    names which is no report."""
    check_place(out)
    return save(assemble(home, studies, store, ensemble=ensemble, command=command, out=out), out)


def assemble(
    home: Home,
    studies: Sequence[str],
    store: Store | None = None,
    *,
    ensemble: str | None = None,
    command: str = "",
    out: Path | None = None,
) -> StudyReport:
    """Gather the studies and make every table and figure; what can't be filled says why.

    `out`: the report's folder; without it no command is named. InputError for unknown studies, an
    unknown ensemble, studies of several stores."""
    # Everything is read once, here; sections only choose from it and from the bank's predictions.
    gathered = gather(home, studies, store)
    chosen = choose_ensemble(home, gathered.names, ensemble)
    written = f"Written {datetime.now(UTC):%Y-%m-%d %H:%M UTC} by va-search {__version__}"
    curves = predictions.find_predictions(gathered, chosen)
    sections = (
        Section("In short", tuple(summary_paragraphs(gathered, chosen))),
        _studied(gathered),
        Section("Overall results", tables=(overall_table(gathered),)),
        Section(
            "Ensemble",
            tables=tuple(ensemble_tables(gathered, chosen)),
            figures=(size.size_figure(gathered),),
        ),
        Section("Folds", tables=(folds_table(gathered, out),)),
        Section("Ablation", tables=ablation_tables(gathered, out)),
        Section("Submissions", tables=(submissions_table(gathered, out),)),
        Section("Predictions", figures=predictions.prediction_figures(curves)),
        Section(
            "Search",
            figures=(
                progress.learning_curves(gathered),
                settings.parallel_coordinates(gathered),
                settings.importance_figure(gathered),
            ),
        ),
        _provenance(gathered, written, command),
    )
    subtitle = f"{_counts(gathered)}. {written}."
    return StudyReport(f"Report: {' + '.join(gathered.names)}", subtitle, sections)


def _counts(gathered: Gathered) -> str:
    """`12 complete trials, 1 failed on store mine`."""
    text = counted(len(gathered.trials), "complete trial")
    failed = missing = 0
    for study in gathered.studies:
        failed += len(study.failed)
        missing += len(study.missing)
    if failed:
        text += f", {failed} failed"
    if missing:
        text += f", {missing} missing"
    if gathered.store is not None:
        text += f" on store {gathered.store.name}"
    return text


def _studied(gathered: Gathered) -> Section:
    paragraphs = []
    if gathered.unscored:
        were = "trial was" if len(gathered.unscored) == 1 else "trials were"
        paragraphs.append(
            f"{len(gathered.unscored)} {were} trained without validation (train_val_mix): nothing "
            "is left to score on, so no table of scores lists them. Only the labels of the test "
            "recordings can show how good they are."
        )
    tables = [store_table(gathered), studies_table(gathered)]
    unfinished = unfinished_table(gathered)
    if unfinished is not None:
        tables.append(unfinished)
    return Section("What was studied", tuple(paragraphs), tuple(tables))


def _provenance(gathered: Gathered, written: str, command: str) -> Section:
    versions = set()
    for study in gathered.studies:
        for trial in study.trials:
            versions.add(str(trial.package_version))
    trained = ", ".join(sorted(versions - {"None"})) or "unknown"
    paragraphs = [f"{written}; the trials were trained by version {trained}."]
    if command:
        paragraphs.append(f"Command: {command}")
    return Section("How it was made", tuple(paragraphs), (settings_table(gathered),))


def save(report: StudyReport, out: Path) -> Path:
    """Write both files once both are made; return the path of report.html."""
    check_place(out)
    # Both are rendered before either is written, and appear together or not at all.
    markdown, html = pages.to_markdown(report), pages.to_html(report)
    plain, page = out / "report.md", out / "report.html"
    with whole_file(page) as page_beside, whole_file(plain) as plain_beside:
        page_beside.write_text(html, encoding="utf-8")
        plain_beside.write_text(markdown, encoding="utf-8")
    return page


def check_place(out: Path) -> None:
    """InputError when `out` is a file or is named like one, or holds a file under a report's name
    that is none."""
    if out.exists() and not out.is_dir():
        expected = "expected a folder to write report.md and report.html to"
        raise InputError(f"{out}: is a file, {expected}")
    if out.suffix.lower() in PAGES and not out.exists():
        raise InputError(
            f"{out}: a report is a folder with report.html and report.md in it, so {out.suffix} is "
            f"no ending for its name; give --out {out.with_suffix('')}"
        )
    files = [out / "report.md", out / "report.html"]
    _refuse_foreign(files, MARK, "report that va-search wrote")


def _refuse_foreign(paths: Sequence[Path], mark: str, kind: str) -> None:
    """InputError for what stands at a path and has no `mark` near its beginning."""
    problems = []
    for path in paths:
        is_foreign = path.is_dir()
        if path.is_file():
            is_foreign = mark not in path.read_text(encoding="utf-8", errors="replace")[:200]
        if is_foreign:
            problems.append(f"{path}: exists and is no {kind}; choose another --out")
    if problems:
        raise InputError(*problems)
