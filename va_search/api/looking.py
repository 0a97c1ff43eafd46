"""The folder of `va-search look`: curves of an ensemble, of a study's best trials, or of predictions
in files, as a page that opens from the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.api.home import OpenHome, bring_members, open_home, open_noted_store, studies_of
from va_search.api.progress import Note, progress_line, to_standard_error
from va_search.errors import InputError, unknown_name
from va_search.files import SAFE_NAME, read_json
from va_search.trial import SCORE

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble
    from va_search.look.folder import LookFolder
    from va_search.look.predicted import PredictedCurve
    from va_search.look.shown import Shown
    from va_search.targets import Target

MEMBERS = 20
"""Members or trials that are shown unless another number is asked for."""
LOOKED_AT = ("validation", "test")


def look_at(
    subject: str | Path,
    out: str | Path,
    *,
    media: str | Path | None = None,
    members: int = MEMBERS,
    by: str = SCORE,
    split: str | None = None,
    store: Store | str | Path | None = None,
    home: OpenHome | str | Path | None = None,
    note: Note = to_standard_error,
) -> LookFolder:
    """Write a page of annotations and predictions to the folder `out`; it opens from the disk.

    `subject`: the name of an ensemble or of a study, or a folder that `predict` or `submit` wrote.
    `media`: a folder with videos or sounds that are called like their recordings. `members`: at most
    so many members, or best trials `by` a target or "score". `split`: "validation" or "test" alone.
    `store`: where it lies now if it was moved, or the one that a folder's predictions are of. An
    earlier page in `out` is replaced. InputError with all problems."""
    opened = open_home(home)
    with opened.using():
        shown = _shown(opened, str(subject), store, members=members, by=by, split=split, note=note)
    return write_page(shown, out, media)


def look_at_curves(
    curves: Sequence[PredictedCurve],
    targets: Sequence[Target],
    out: str | Path,
    *,
    title: str,
    detail: str = "",
    media: str | Path | None = None,
) -> LookFolder:
    """Write a page of predictions that no store has recordings of, such as of videos, to `out`.

    `media` as in `look_at`; `title` and `detail`: what predicted them."""
    from va_search.look.predicted import shown_curves

    return write_page(shown_curves(curves, targets, title=title, detail=detail), out, media)


def write_page(shown: Shown, out: str | Path, media: str | Path | None) -> LookFolder:
    """Write the page to the folder `out`, with progress on the terminal."""
    from va_search.look.folder import write_look
    from va_search.look.media import Media

    found = None if media is None else Media.of_folder(Path(media))
    with progress_line("writing recordings …", at_once=False) as line:

        def watch(done: int, total: int) -> None:
            line.update(f"writing: {done} of {total} recordings")

        return write_look(shown, Path(out), media=found, watch=watch)


def _shown(
    home: OpenHome,
    subject: str,
    store: Store | str | Path | None,
    *,
    members: int,
    by: str,
    split: str | None,
    note: Note,
) -> Shown:
    """What a page shows of the ensemble, study or folder that `subject` names."""
    from va_search.data.store import SPLITS
    from va_search.ensemble.saved import known_ensembles

    if members < 1:
        raise InputError(f"--members {members}: expected 1 or more")
    studies, ensembles = studies_of(home.files), known_ensembles(home.files)
    splits = LOOKED_AT if subject in (*ensembles, *studies) else SPLITS
    if split is not None and split not in splits:
        raise InputError(unknown_name("split", split, splits))
    if subject in ensembles:
        if subject in studies:
            note(f"{subject} is an ensemble and a study; this is the ensemble")
        if by != SCORE:
            raise InputError(
                f"--by {by}: {subject!r} is an ensemble, whose members come by their weight; --by is "
                "for the trials of a study"
            )
        return _shown_ensemble(home, subject, store, members, split)
    if subject in studies:
        return _shown_study(home, subject, store, members=members, by=by, split=split)
    if Path(subject).is_dir():
        return _shown_folder(home, Path(subject), store, split)
    if SAFE_NAME.fullmatch(subject) is not None:
        problem = unknown_name("study or ensemble", subject, dict.fromkeys([*studies, *ensembles]))
        raise InputError(f"{problem}; nor is there a folder of this name")
    raise InputError(f"{subject}: no such folder, expected one that `predict` or `submit` wrote")


def _shown_ensemble(
    home: OpenHome, name: str, store: Store | str | Path | None, members: int, split: str | None
) -> Shown:
    from va_search.api.ensembles import open_ensemble
    from va_search.look.ensembles import shown_ensemble
    from va_search.verdict.block import verdict_block

    document = open_ensemble(name, home=home).document
    bring_members(home, document, "predictions")
    return shown_ensemble(
        home.files,
        document,
        open_noted_store(document.store, store),
        members=members,
        split=split,
        verdict=verdict_block(home.files, document).rows,
    )


def _shown_study(
    home: OpenHome,
    name: str,
    store: Store | str | Path | None,
    *,
    members: int,
    by: str,
    split: str | None,
) -> Shown:
    from va_search.api.home import check_complete
    from va_search.ensemble.candidates import find_candidates, find_store
    from va_search.look.studies import shown_study
    from va_search.predictions.bank import Bank

    with home.using("predictions", studies=[name]):
        bank = Bank(home.files.bank)
        check_complete(home.files, [name])
        if store is None:
            opened = find_store(find_candidates(bank, [name], outside=True)[0])
        else:
            opened = open_noted_store("", store)
        return shown_study(bank, name, opened, by=by, members=members, split=split)


def _shown_folder(
    home: OpenHome, folder: Path, store: Store | str | Path | None, split: str | None
) -> Shown:
    from va_search.look.predicted import shown_folder

    ensemble, is_submission = _ensemble_of_folder(home, folder)
    if store is None:
        # A submission is of the ensemble's own store, predictions are of any.
        if ensemble is None or not is_submission:
            raise InputError(f"{folder}: say which store its predictions are of, with --data STORE")
        store = ensemble.store
    targets = None if ensemble is None else ensemble.targets
    return shown_folder(folder, open_noted_store("", store), split=split, targets=targets)


def _ensemble_of_folder(home: OpenHome, folder: Path) -> tuple[Ensemble | None, bool]:
    """The home's ensemble that a folder of ours holds the predictions of, None where that is not
    known, and True for a submission."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble
    from va_search.submission.folder import MARK, SUBMISSION

    if not (folder / MARK).is_file():
        return None, False
    mark = read_json(folder / MARK)
    name = str(mark.get("ensemble"))
    if name not in known_ensembles(home.files):
        return None, False
    return read_ensemble(home.files, name), mark.get("kind") == SUBMISSION
