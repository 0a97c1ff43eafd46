"""Everything in a home that names a study, in one place.

    bank/<study>/, configurations/<study>/    the study in every record; `trained_in` in those that other studies took over
    studies/<study>/                          study.json, failures/, submissions.json (paper's Table 6)
    studies/<other>/study.json                `warm_start`
    ensembles/<name>.json                     studies, members, best singles, counts, member_seals, in parts of blends too
    ensembles/<name>/registered.json          versions of MLflow's registry, by the ensemble's content, which names studies
    ensembles of members trained again        the content of the ensemble that these were taken from
    MLflow                                    experiment, and tags of its runs
    housekeeping/                             what was begun and not ended

Not in a home: a submission's folder names its ensemble (.submission.json), a report's pages are
text, a registered model has its own copies of weights. Claims and checkpoints are named by trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from va_search.errors import InputError, counted
from va_search.home import Home


@dataclass(frozen=True)
class Dependents:
    """Everything that depends on a study.

    `ensembles` have its trials as members, `named_in` only chose from them. `registered`:
    `models:/NAME/VERSION` of `ensembles`. `refitted`: ensembles whose members were those of
    `ensembles`, trained again. `warm_started`: studies whose sampler learns from it. `adopted_by`:
    studies that took trials over which it trained, with their number. `fit`: the name of the fit
    that finds it by its name; None for another study."""

    study: str
    ensembles: tuple[str, ...] = ()
    named_in: tuple[str, ...] = ()
    registered: tuple[str, ...] = ()
    refitted: tuple[str, ...] = ()
    warm_started: tuple[str, ...] = ()
    adopted_by: Mapping[str, int] = field(default_factory=dict)
    fit: str | None = None

    @classmethod
    def of(cls, home: Home, study: str) -> Dependents:
        """Return what depends on the study; InputError where an ensemble can't be read."""
        from va_search.ensemble.fresh import registered_models
        from va_search.ensemble.renaming import every_ensemble, names_study, used_trials

        using: list[str] = []
        naming: list[str] = []
        refitted: list[str] = []
        registered: list[str] = []
        ensembles = list(every_ensemble(home))
        for ensemble in ensembles:
            if study in used_trials(ensemble):
                using.append(ensemble.name)
                registered += registered_models(home, ensemble.name)
            elif names_study(ensemble, study):
                naming.append(ensemble.name)
        for ensemble in ensembles:
            if ensemble.recipe_document.get("of") in using and ensemble.name not in using:
                refitted.append(ensemble.name)
        return cls(
            study,
            ensembles=tuple(using),
            named_in=tuple(naming),
            registered=tuple(registered),
            refitted=tuple(refitted),
            warm_started=tuple(warm_started(home, study)),
            adopted_by={name: len(trials) for name, trials in adopted(home, study).items()},
            fit=fit_of(home, study),
        )

    def sentences(self) -> list[str]:
        """Return a sentence for each kind of dependents; none where nothing depends on it."""
        lines: list[str] = []
        kinds = (
            ("ensembles of its trials", self.ensembles),
            (
                "registered versions of these ensembles (they keep their own weights)",
                self.registered,
            ),
            ("ensembles of the same members trained again", self.refitted),
            ("ensembles that chose others' trials beside its own", self.named_in),
            ("studies whose sampler learns from it", self.warm_started),
        )
        for words, names in kinds:
            if names:
                lines.append(f"{words}: {', '.join(names)}")
        for adopting, count in self.adopted_by.items():
            lines.append(f"study {adopting} has {counted(count, 'trial')} that it trained")
        if self.fit is not None:
            lines.append(f"it is a part of fit {self.fit}, which finds it by its name")
        return lines


def warm_started(home: Home, study: str) -> list[str]:
    """Names of the other studies whose sampler learns from the study."""
    from va_search.search.study import Study

    names = []
    for path in sorted(home.studies.glob("[!.]*/study.json")):
        name = path.parent.name
        try:
            learns_from = Study(home, name).warm_start
        except InputError:
            continue  # a damaged document: whoever asks for that study is told
        if study in learns_from and name != study:
            names.append(name)
    return names


def adopted(home: Home, study: str) -> dict[str, list[str]]:
    """Trials of other studies that this one trained, by the other study."""
    from va_search.predictions.bank import Bank

    bank = Bank(home.bank)
    trials: dict[str, list[str]] = {}
    for adopting in bank.studies():
        if adopting == study:
            continue
        for name in bank.trials(adopting):
            trial = bank.readable_trial(adopting, name)
            if trial is not None and trial.trained_in == study:
                trials.setdefault(adopting, []).append(name)
    return trials


def fit_of(home: Home, study: str) -> str | None:
    """Return the name of the fit whose search, race or members trained again the study is."""
    for ending in ("-search", "-folds"):
        name = study.removesuffix(ending)
        if name != study and home.study(f"{name}-search").is_dir():
            return name
    return study if home.study(f"{study}-search").is_dir() else None


def used_by_ensembles(home: Home, study: str) -> dict[str, list[str]]:
    """Return the names of the ensembles that are made of each entry of the study, by the entry."""
    from va_search.ensemble.renaming import every_ensemble, used_trials

    used: dict[str, list[str]] = {}
    for ensemble in every_ensemble(home):
        for trial in sorted(used_trials(ensemble).get(study, ())):
            used.setdefault(trial, []).append(ensemble.name)
    return used
