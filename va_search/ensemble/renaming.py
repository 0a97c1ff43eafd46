"""Ensembles whose study is called otherwise now: their files, and what notes which build it is of.

Conventions: members, weights, scores and seals of members' files stay what they are. The content of
an ensemble (fresh.py) names its studies, so what notes that content is changed along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from va_search.ensemble.fresh import content_id, forget_explanation, renew_registered
from va_search.ensemble.refit import REFIT
from va_search.ensemble.saved import (
    Ensemble,
    EnsembleMember,
    Weighted,
    known_ensembles,
    read_ensemble,
    write_ensemble,
)
from va_search.errors import InputError
from va_search.home import Home


def every_ensemble(home: Home) -> Iterator[Ensemble]:
    """Yield the home's ensembles, sorted by name; InputError where one can't be read: what it uses
    is not known then."""
    problems: list[str] = []
    ensembles: list[Ensemble] = []
    for name in known_ensembles(home):
        try:
            ensembles.append(read_ensemble(home, name))
        except InputError as error:
            unknown = f"ensemble {name!r} can't be read, so what it uses is not known"
            problems.append(f"{unknown}: {error.problems[0]}, or remove its file")
    if problems:
        raise InputError(*problems)
    yield from ensembles


def names_study(ensemble: Ensemble, study: str) -> bool:
    """Return True where the ensemble's file names the study: its trials are members, or were among
    those that members were chosen from."""
    return study in ensemble.studies or any(
        study in piece.studies or study in used_trials(piece) for _, piece in ensemble.pieces
    )


def used_trials(ensemble: Ensemble) -> dict[str, set[str]]:
    """Return the names of all entries that the ensemble is made of, by study: its members, and the
    trials of the folds that a member was put together from."""
    used: dict[str, set[str]] = {}
    for _, piece in ensemble.pieces:
        for weighted in piece.dimensions.values():
            for member in weighted.members:
                names = {member.trial, *(member.trials or {}).values()}
                used.setdefault(member.study, set()).update(names)
    return used


def rename_in_ensembles(home: Home, study: str, to: str) -> list[str]:
    """Rename a study in all ensembles that name it; return sentences on what has to be made anew.

    May be killed at any moment and called again. Entries of both names must be there."""
    remarks: list[str] = []
    contents: dict[str, tuple[str, str]] = {}
    for ensemble in every_ensemble(home):
        renamed = renamed_study(ensemble, study, to)
        old_content, new_content = content_id(ensemble), content_id(renamed)
        # Also where only what depends on the file is left to do, after a kill.
        if renamed == ensemble:
            old_content = content_id(renamed_study(ensemble, to, study))
        contents[ensemble.name] = old_content, new_content
        if not names_study(renamed, to):
            continue
        # First what notes the content: a kill in between leaves the file to be written again.
        renew_registered(home, renamed, old_content)
        if renamed != ensemble:
            write_ensemble(home, renamed)
        reason = f"that calls the study {study}"
        remark = forget_explanation(home, renamed.name, renamed, reason=reason)
        if remark is not None:
            remarks.append(f"ensemble {renamed.name}: {remark}")
    _rename_in_refits(home, contents)
    return remarks


def _rename_in_refits(home: Home, contents: Mapping[str, tuple[str, str]]) -> None:
    """Change the content that ensembles of members trained again note of the one that these were
    taken from. `contents`: before and after, by the ensemble's name."""
    for ensemble in every_ensemble(home):
        recipe = ensemble.recipe_document
        old_content, new_content = contents.get(str(recipe.get("of")), ("", ""))
        is_of_it = recipe.get("method") == REFIT and recipe.get("content") == old_content
        if not is_of_it or old_content == new_content:
            continue
        changed = {"recipe_document": {**recipe, "content": new_content}}
        renewed = ensemble.model_copy(update=changed)
        renew_registered(home, renewed, content_id(ensemble))
        write_ensemble(home, renewed)


def renamed_study(ensemble: Ensemble, study: str, to: str) -> Ensemble:
    """Return the ensemble with another name for one of its studies, in everything that names
    it."""

    def name(of: str) -> str:
        return to if of == study else of

    def member(of: EnsembleMember) -> EnsembleMember:
        return of.model_copy(update={"study": name(of.study)})

    def weighted(part: Weighted) -> Weighted:
        update: dict[str, object] = {"members": [member(entry) for entry in part.members]}
        if part.best_single is not None:
            single = part.best_single.model_copy(update={"study": name(part.best_single.study)})
            update["best_single"] = single
        return part.model_copy(update=update)

    parts = []
    for part in ensemble.parts:
        renamed_part = renamed_study(part.ensemble, study, to)
        parts.append(part.model_copy(update={"ensemble": renamed_part}))
    update: dict[str, object] = {
        "studies": [name(of) for of in ensemble.studies],
        "dimensions": {target: weighted(part) for target, part in ensemble.dimensions.items()},
        "parts": parts,
    }
    if ensemble.best_for_both is not None:
        best = ensemble.best_for_both
        update["best_for_both"] = best.model_copy(update={"study": name(best.study)})
    if ensemble.complete is not None:
        update["complete"] = {name(of): count for of, count in ensemble.complete.items()}
    if ensemble.member_seals is not None:
        seals = {}
        for folder, seal in ensemble.member_seals.items():
            kind, of, trial = folder.split("/")
            seals[f"{kind}/{name(of)}/{trial}"] = seal
        update["member_seals"] = dict(sorted(seals.items()))
    return ensemble.model_copy(update=update)
