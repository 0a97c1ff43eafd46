"""A report: gathered, put together, and written.

    DIR/report.md, DIR/report.html    replaced by the next call
    NAME.html or NAME.md              the page or the Markdown alone, where --out ends so

Conventions: every file appears whole. Nothing else in DIR is touched, and a file under one of these
names that no report wrote is never replaced."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError, counted
from va_search.files import whole_file
from va_search.home import Home
from va_search.report import pages
from va_search.report.chosen import ChosenEnsemble, answer, choose_ensemble
from va_search.report.figures import predictions, progress, settings, size
from va_search.report.gather import Gathered, gather
from va_search.report.pages import MARK, Section, StudyReport
from va_search.report.suggest import free_name
from va_search.report.tables.ablation import ablation_tables
from va_search.report.tables.decisive import decisive_by_measure, decisive_table, sample_text
from va_search.report.tables.ensemble import ensemble_tables
from va_search.report.tables.folds import folds_table
from va_search.report.tables.recordings import recordings_table
from va_search.report.tables.studies import store_table, studies_table
from va_search.report.tables.submissions import submissions_table
from va_search.report.tables.trials import overall_table, settings_table, unfinished_table

HTML, MARKDOWN = (".html", ".htm"), (".md", ".markdown")
ENDINGS = (*HTML, *MARKDOWN, ".pdf")
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
    """Report on `studies` into the folder `out`, or into one file where it ends in .html or .md;
    return the path of the page.

    `store`: what they were made on; None takes the one they name. `ensemble`: the one that Tables 2
    and 3 show; None takes the newest that these studies feed. `command`: how the report says it was
    made. InputError for unknown studies or ensembles, and for an `out` that holds a file of these
    names which is no report."""
    report_files(out)
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

    `out`: the report's folder or file; without it no command is named. InputError for unknown
    studies, an unknown ensemble, studies of several stores."""
    # Everything is read once, here; sections only choose from it and from the bank's predictions.
    options = () if store is None else ("--data", store.place)
    gathered = gather(home, studies, store)
    chosen = choose_ensemble(home, gathered.names, ensemble)
    written = f"Written {datetime.now(UTC):%Y-%m-%d %H:%M UTC} by va-search {__version__}"
    curves = predictions.find_predictions(gathered, chosen)
    decisive, sample = decisive_by_measure(gathered), sample_text(gathered)
    opening = answer(gathered, chosen, options)
    sections = (
        Section("In short", facts=opening.rows, command=opening.next_command),
        Section(predictions.TYPICAL, figures=(predictions.typical_recording(curves),)),
        Section(
            "What made the difference",
            tables=(decisive_table(decisive, sample), *ablation_tables(gathered, out)),
            figures=(settings.decisive_figure(decisive, sample),),
        ),
        Section(
            "Members and weights",
            tables=tuple(ensemble_tables(gathered, chosen)),
            figures=(size.size_figure(gathered),),
        ),
        Section(
            "Recordings",
            tables=(recordings_table(curves, _look_command(gathered, chosen)),),
            figures=(
                predictions.best_and_worst(curves),
                predictions.each_recording(curves),
                predictions.scatter(curves),
            ),
        ),
        _trials(gathered, out),
        Section(
            "Search",
            figures=(
                progress.history_figure(gathered.trained),
                progress.learning_curves(gathered),
                settings.parallel_coordinates(gathered),
            ),
        ),
        _bookkeeping(gathered, written, command),
    )
    subtitle = f"{_counts(gathered)}. {written}."
    title = f"Report: {' + '.join(gathered.names)}"
    return StudyReport(title, subtitle, sections, opening.verdict)


def _look_command(gathered: Gathered, chosen: ChosenEnsemble) -> str | None:
    """The command that shows every recording over time; None where there is no store to show."""
    if gathered.store is None:
        return None
    name = gathered.names[0] if chosen.ensemble is None else chosen.ensemble.name
    folder = free_name(f"{name}-look", lambda name: Path(name).exists())
    return gathered.home.command("look", name, "--out", folder)


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


def _trials(gathered: Gathered, out: Path | None) -> Section:
    """The trials by their scores, on one fold and over folds, and what was submitted of them."""
    paragraphs = []
    if gathered.unscored:
        were = "trial was" if len(gathered.unscored) == 1 else "trials were"
        paragraphs.append(
            f"{len(gathered.unscored)} {were} trained without validation (train_val_mix): nothing "
            "is left to score on, so no table of scores lists them. Only the labels of the test "
            "recordings can show how good they are."
        )
    tables = (overall_table(gathered), folds_table(gathered, out), submissions_table(gathered, out))
    return Section("Trials", tuple(paragraphs), tables)


def _bookkeeping(gathered: Gathered, written: str, command: str) -> Section:
    versions = set()
    for study in gathered.studies:
        for trial in study.trials:
            versions.add(str(trial.package_version))
    trained = ", ".join(sorted(versions - {"None"})) or "unknown"
    paragraphs = [f"{written}; the trials were trained by version {trained}."]
    if command:
        paragraphs.append(f"Command: {command}")
    tables = [store_table(gathered), studies_table(gathered), settings_table(gathered)]
    unfinished = unfinished_table(gathered)
    if unfinished is not None:
        tables.insert(2, unfinished)
    return Section("How it was made", tuple(paragraphs), tuple(tables))


@dataclass(frozen=True)
class ReportFiles:
    """The files that a report is written to; one alone where the other is None."""

    page: Path | None
    markdown: Path | None

    @property
    def paths(self) -> list[Path]:
        return [path for path in (self.page, self.markdown) if path is not None]


def report_files(out: Path) -> ReportFiles:
    """Return the files of a report that is written to the folder `out`, or to one file where `out`
    ends like a page.

    InputError when `out` is another file, or holds a file under a report's name that is none."""
    suffix = out.suffix.lower()
    if out.is_dir() or suffix not in ENDINGS:
        files = ReportFiles(out / "report.html", out / "report.md")
    elif suffix in HTML:
        files = ReportFiles(out, None)
    elif suffix in MARKDOWN:
        files = ReportFiles(None, out)
    else:
        page = out.with_suffix(".html")
        raise InputError(
            f"{out}: a report is written as HTML or Markdown; give --out {page}, and print that page "
            f"to {suffix} in a browser"
        )
    if out not in (files.page, files.markdown) and out.is_file():
        expected = "expected a folder to write report.md and report.html to"
        raise InputError(f"{out}: is a file, {expected}")
    _refuse_foreign(files.paths)
    return files


def save(report: StudyReport, out: Path) -> Path:
    """Write the files once all are made; return the path of the page, or of the Markdown file where
    that was asked for."""
    files = report_files(out)
    # Both are rendered before either is written, and appear together or not at all.
    texts = {files.page: pages.to_html(report), files.markdown: pages.to_markdown(report)}
    with ExitStack() as written:
        for path in files.paths:
            beside = written.enter_context(whole_file(path))
            beside.write_text(texts[path], encoding="utf-8")
    return files.paths[0]


def _refuse_foreign(paths: Sequence[Path]) -> None:
    """InputError for what is at a path and is no report, by its first characters."""
    problems = []
    for path in paths:
        is_foreign = path.is_dir()
        if path.is_file():
            is_foreign = MARK not in path.read_text(encoding="utf-8", errors="replace")[:200]
        if is_foreign:
            problems.append(
                f"{path}: exists and is no report that va-search wrote; choose another --out"
            )
    if problems:
        raise InputError(*problems)
