"""The paper's searches, folds, five submissions and tables, on any store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from va_search.api.data import make_folds, open_store
from va_search.api.ensembles import write_report, write_submissions
from va_search.api.home import OpenHome, open_home
from va_search.api.progress import Note, silent, summary_lines, to_standard_error
from va_search.api.searching import load_space, run_search
from va_search.search.summary import Unfinished

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.search.configurations import Space
    from va_search.submission.strategies import Submissions

FOLDS = 6
"""Of the paper (4.5): the official validation set and five of the training recordings."""

ModelSize = Literal["auto", "small", "paper"]


@dataclass(frozen=True)
class Reproduction:
    """The report's page, the four studies, and Table 6; None where the store has no test."""

    report: Path
    studies: list[str]
    submissions: Submissions | None


def reproduce_paper(
    store: Store | str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    size: ModelSize = "auto",
    study: str = "paper",
    home: OpenHome | str | Path | None = None,
    command: str = "",
    show: Note = silent,
    show_submissions: Callable[[Submissions], None] = silent,
    note: Note = to_standard_error,
) -> Reproduction:
    """Search, ablation, folds, Train-Val-Mix, five submissions, and a report with the paper's six
    tables, in the folder `out`. The same call again goes on from what is finished.

    `store`: folds are made in it where it has none. `labels`: a folder of test labels; without them
    Table 6 has none. `size`: "paper" trains the paper's models, "small" ones fit for CPUs, "auto"
    the paper's where a GPU is. `study`: how the four studies' names begin. `command`: how the report
    says it was made. `show` takes each step's result in a line, `show_submissions` Table 6."""
    from va_search.report.write import report_files
    from va_search.submission.scoring import read_labels

    out = Path(out)
    opened = open_home(home)
    # whatever is wrong with the folders is told before hours of training
    report_files(out)
    store = open_store(store)
    if labels is not None:
        read_labels(Path(labels), store)
    with opened.using("predictions", writes=True):
        store = _with_folds(store, show)
        spaces = _fitted_spaces(store, _checked_size(size, show), out / "spaces", show)
        studies = []
        for name, space in spaces.items():
            studies.append(study + name.removeprefix("paper"))
            show(f"search     study {studies[-1]}")
            try:
                searched = run_search(space, store, study=studies[-1], home=opened, note=note)
            except Unfinished as error:
                for line in summary_lines(error.summary, opened.files):
                    show(line)
                raise
            if searched.summary is not None:
                for line in summary_lines(searched.summary, opened.files):
                    show(line)
        # all four studies are complete now, as the strategies and the report need them
        submissions = None
        if store.split("test"):
            submissions = write_submissions(
                studies,
                out / "submissions",
                store=store,
                labels=labels,
                prefix=study,
                home=opened,
                note=note,
            )
            show_submissions(submissions)
        else:
            show("no submissions, no Train-Val-Mix: the store has no test recordings")
        show("report     tables and figures …")
        page = write_report(studies, out, store=store, home=opened, command=command)
        show(f"report     {page}")
    return Reproduction(page, studies, submissions)


def _with_folds(store: Store, show: Note) -> Store:
    """The store with folds: its own, or the paper's six made now."""
    if store.fold_numbers:
        count = len(store.fold_numbers)
        show(f"folds      {store.path} has {count} with labels: {_fold_names(store)}")
        return store
    make_folds(store, k=FOLDS, keep_validation=True)
    divided = open_store(store.path)
    show(f"folds      made in {divided.path}: {_fold_names(divided)}")
    return divided


def _fold_names(store: Store) -> str:
    names = []
    for number in store.fold_numbers:
        names.append(f"{number} (official)" if number == store.official_fold else str(number))
    return ", ".join(names)


def _checked_size(size: ModelSize, show: Note) -> Literal["small", "paper"]:
    """The size that "auto" stands for on this machine; another one as it is."""
    if size != "auto":
        return size
    import torch

    if torch.cuda.is_available():
        return "paper"
    advice = "--size paper trains the paper's own models"
    show(f"size       small, since this machine has no GPU; {advice}")
    return "small"


def _fitted_spaces(
    store: Store, size: Literal["small", "paper"], folder: Path, show: Note
) -> dict[str, Space]:
    """The paper's four spaces by name, fitted to the store; their files are in `folder`."""
    from va_search.search.budget import planned_trials
    from va_search.search.paper import fitted_spaces

    spaces: dict[str, Space] = {}
    remarks: list[str] = []
    for fitted in fitted_spaces(store, size):
        spaces[fitted.name] = load_space(fitted.write(folder), store)
        remarks += fitted.remarks
    for remark in dict.fromkeys(remarks):
        show(f"spaces     {remark}")
    counts = [f"{name} {planned_trials(space)}" for name, space in spaces.items()]
    show(f"spaces     in {folder}; trials: {', '.join(counts)}")
    return spaces
