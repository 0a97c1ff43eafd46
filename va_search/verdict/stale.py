"""Remarks on what is unfinished or out of date around an ensemble: its studies' searches, the
ensemble itself, and what was made from it.

Conventions: sentences come as a list, empty where nothing is to be said. A few small files are
read, no prediction; a store at a URL is not brought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from va_search.data.store import Store
from va_search.ensemble.fresh import content_id, newer_trials, stale_explanation, stale_models
from va_search.ensemble.refit import REFIT, is_stale
from va_search.ensemble.saved import Ensemble, known_ensembles
from va_search.errors import InputError, counted
from va_search.files import read_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.extent import (
    finished_of_planned,
    is_searched,
    planned_trials,
    searched_now,
    searched_sentence,
)
from va_search.search.study import Study
from va_search.storage.places import is_url
from va_search.trial import Trial


def out_of_date(home: Home, ensemble: Ensemble) -> list[str]:
    """Searches that go on, and things older than what they were made from: the ensemble itself, its
    explanation, its registered models."""
    # A study that is still searched comes first: the numbers below will change by themselves.
    sentences = searched_now(home, ensemble.studies)
    newer = newer_sentence(ensemble, newer_trials(home, ensemble))
    if newer is not None:
        sentences.append(newer)
    return sentences + stale_of(home, ensemble)


def newer_sentence(ensemble: Ensemble, newer: int | None) -> str | None:
    """A sentence on trials completed since the ensemble was built; None where there are none."""
    if not newer:
        return None
    were, them = ("trial was", "it") if newer == 1 else ("trials were", "them")
    completed = f"{newer:,} {were} completed after ensemble {ensemble.name} was built"
    return f"{completed}; the same ensemble command again takes {them} in"


def stale_of(home: Home, ensemble: Ensemble) -> list[str]:
    """Things made from an earlier build: a refitted ensemble, an explanation, registered models."""
    sentences = []
    if is_stale(home, ensemble):
        source = ensemble.recipe_document["of"]
        again = home.command("refit", source, "--name", ensemble.name)
        sentences.append(
            f"ensemble {ensemble.name} is of an earlier build of {source}; to train the members of "
            f"this one again: {again}"
        )
    if stale_explanation(home, ensemble):
        stale = f"the explanation of ensemble {ensemble.name} is of an earlier build"
        sentences.append(f"{stale}; --explain makes it again")
    for model in stale_models(home, ensemble):
        sentences.append(register_advice(home, ensemble, model))
    return sentences


def register_advice(home: Home, ensemble: Ensemble, model: str) -> str:
    """That `models:/NAME/VERSION` is of an earlier build, and the command that registers this
    one."""
    name = model.removeprefix("models:/").rpartition("/")[0]
    words = ["register", ensemble.name]
    if name != ensemble.name:
        words += ["--name", name]
    stale = f"{model} is of an earlier build of ensemble {ensemble.name}"
    return f"{stale}; to register this one: {home.command(*words)}"


def stale_refits(home: Home, ensemble: Ensemble) -> list[str]:
    """A sentence for each ensemble of members that were trained again from an earlier build of this
    one."""
    sentences = []
    content = content_id(ensemble)
    for name in known_ensembles(home):
        try:
            document = read_json(home.ensemble(name)).get("recipe_document", {})
        except (InputError, AttributeError):
            continue  # a damaged file: whoever asks for it by name is told
        is_refit = document.get("method") == REFIT and document.get("of") == ensemble.name
        if is_refit and document.get("content") != content:
            again = home.command("refit", ensemble.name, "--name", name)
            sentences.append(
                f"ensemble {name} has the members of an earlier build of {ensemble.name}; to train "
                f"those of this one: {again}"
            )
    return sentences


def unfinished(home: Home, complete: Mapping[str, int]) -> list[str]:
    """Sentences on the studies that are being searched, or whose search ended before all planned
    trials, and on trials that failed. `complete`: number of complete trials by study."""
    sentences = []
    for study, finished in complete.items():
        failed = failed_trials(home, study)
        planned = planned_trials(home, study, brings_store=False)
        if is_searched(home, study):
            sentences.append(searched_sentence(study, finished, planned))
        elif planned is not None and finished + failed < planned:
            sentences.append(
                f"study {study}: {finished_of_planned(finished, planned)}, and nothing searches it "
                "now; its search command again goes on"
            )
        if failed:
            status = home.command("status", study)
            sentences.append(f"study {study}: {counted(failed, 'trial')} failed; why: {status}")
    return sentences


def failed_trials(home: Home, study: str) -> int:
    """Number of the study's trials whose last training failed."""
    return len(list((Study(home, study).folder / "failures").glob("*.json")))


def store_problem(home: Home, ensemble: Ensemble) -> str | None:
    """A sentence where the store that the ensemble was chosen on is not where it was, or has other
    content than the members were trained on; None where it is as it was, or lies at a URL."""
    if is_url(ensemble.store):
        return None
    try:
        store = Store.open(ensemble.store)
    except InputError as error:
        reason = error.problems[0].partition(";")[0]
        return f"{reason}; if the store was moved, say where it is with --data STORE"
    for trial in _one_member_a_study(home, ensemble):
        # Trials of another store of the same recordings differ from the start.
        if trial.store_path == ensemble.store and not trial.is_of(store):
            return (
                f"store {ensemble.store} has changed since trial {trial.id} of study {trial.study} "
                "was trained on it: these scores are of the store as it was; search again to train "
                "on it as it is"
            )
    return None


def _one_member_a_study(home: Home, ensemble: Ensemble) -> Iterator[Trial]:
    """The record of one trained member of each study; of a configuration over folds that of the
    trial of any of its folds."""
    bank = Bank(home.bank)
    studies: set[str] = set()
    for _, piece in ensemble.pieces:
        for weighted in piece.dimensions.values():
            for member in weighted.members:
                if member.study in studies or member.source == "outside":
                    continue
                studies.add(member.study)
                trials = [*(member.trials or {}).values(), member.trial]
                if bank.is_complete(member.study, trials[0]):
                    trial = bank.readable_trial(member.study, trials[0])
                    if trial is not None:
                        yield trial
