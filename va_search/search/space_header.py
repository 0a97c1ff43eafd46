"""The header of a search space: how it is searched.

sampler: tpe                 grid | random | tpe | gp
sampler_seed: 0
objective: score             score | both | ensemble | a target, such as valence: what is maximised
budget: {trials: 24, hours: 0.5, no_improvement: 10}      trials are rounded up to whole configurations;
                             also gpu_hours, money (with cost_per_gpu_hour or cost_per_core_hour), worth
seeds: [0, 1]                each configuration is trained once per seed and fold
folds: [official]            official; numbers of the store's folds, or all; train_val_mix (none to validate)
early_stopping: {grace_epochs: 5, reduction_factor: 3}      ASHA; leave it out for none
settings: …                  what may vary: declarations.py
first: [{encoder: lstm}, …]  configurations that are trained before the sampler proposes any: first.py
trials: […]                  instead of settings: each trial by itself (listed.py), sampler grid"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from va_search.data.folds import folds_command
from va_search.data.store import MIX, OFFICIAL, Store
from va_search.document import StrictModel, YamlFile
from va_search.document.words import Place, expected_found, flow
from va_search.errors import unknown_name
from va_search.trial import ALL, FoldKind

Count = Annotated[int, Field(ge=1)]

LEARNING = ("tpe", "gp")
"""Samplers that learn from finished trials."""

OBJECTIVES = ("score", "both", "ensemble")
"""Objectives of any store: the mean over its targets, all targets at once, what a trial adds to an
ensemble. Each target's name is one, too."""


Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Budget(StrictModel):
    """Bounds of a study, over all its runs: so many trials (one configuration, seed and fold each),
    hours of searching, GPU-hours that trials take, money at the rates `cost_per_gpu_hour` and
    `cost_per_core_hour` (spending.py), so many trials in a row without a better objective, and a
    `worth`: CCC that an ensemble must be expected to gain in a further hour. None: no bound."""

    trials: Count | None = None
    hours: Amount | None = None
    gpu_hours: Amount | None = None
    money: Amount | None = None
    cost_per_gpu_hour: Amount | None = None
    cost_per_core_hour: Amount | None = None
    no_improvement: Count | None = None
    worth: Amount | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        no_rate = self.cost_per_gpu_hour is None and self.cost_per_core_hour is None
        if self.money is not None and no_rate:
            raise ValueError(
                "`cost_per_gpu_hour` or `cost_per_core_hour` must be given beside `money`, or nothing would be spent"
            )
        return self


class EarlyStopping(StrictModel):
    """ASHA: after `grace_epochs`, and again each `reduction_factor` times as late, the best trial
    in every `reduction_factor` goes on."""

    grace_epochs: Count = 5
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class SpaceHeader(StrictModel):
    """The keys of a search space; its `settings` are read one by one."""

    sampler: Annotated[
        Literal["grid", "random", "tpe", "gp"],
        Field(
            description="grid (every configuration), random, tpe or gp (the last two learn from finished trials)"
        ),
    ]
    sampler_seed: Annotated[int, Field(ge=0)] = 0
    # one of OBJECTIVES or a target's name: which there are only the store knows
    objective: Annotated[str, Field(min_length=1)] = "score"
    budget: Budget = Budget()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]  # noqa: RUF012
    folds: Annotated[list[int | str], Field(min_length=1)] = ["official"]  # noqa: RUF012
    early_stopping: EarlyStopping | None = None
    settings: Annotated[
        dict[str, Any], Field(description="what may vary, such as settings: {features: all}")
    ]
    first: list[dict[str, Any]] = []  # noqa: RUF012
    trials: Annotated[list[Any], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.trials is not None:
            self._check_listed()
        for name, values in (("seeds", self.seeds), ("folds", self.folds)):
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` {values}: one is given twice; keep one")
        needs_scores = {
            f"sampler {self.sampler}": self.sampler in LEARNING,
            "`early_stopping`": self.early_stopping is not None,
            "`budget.no_improvement`": self.budget.no_improvement is not None,
            "`budget.worth`": self.budget.worth is not None,
        }
        scored = all(FoldKind(fold).has_validation for fold in self.folds)
        if not scored and any(needs_scores.values()):
            reader = next(name for name, needs in needs_scores.items() if needs)
            raise ValueError(
                f"fold {MIX} has no validation scores, which {reader} goes by: take sampler grid or random without "
                f"`early_stopping`, `no_improvement` and `worth`, or give {MIX} a space of its own"
            )
        if self.objective == "ensemble" and self.sampler not in LEARNING:
            raise ValueError(
                f"objective ensemble tells the sampler what trials add, but {self.sampler} learns nothing"
            )
        if self.sampler != "grid" and self.budget.trials is None:
            raise ValueError(
                f"`budget.trials` must be given for sampler {self.sampler}, which never ends by itself; for a bound in "
                "hours alone give a large number"
            )
        return self

    def _check_listed(self) -> None:
        """ValueError for keys that mean nothing beside trials that are listed."""
        if self.settings:
            raise ValueError("`settings` or `trials` must be given, not both")
        if self.first:
            raise ValueError("`trials` are trained in their order: `first` must not be given")
        if self.sampler != "grid":
            raise ValueError(f"`trials` are listed: expected sampler grid, found {self.sampler}")
        if self.seeds != [0]:
            raise ValueError("`seeds` must not be given: each of the `trials` has its own `seed`")


def read_header(file: YamlFile, store: Store) -> SpaceHeader | None:
    """Read the header of a space; None when there are problems, which then are noted."""
    noted = len(file.problems)
    document = dict(file.data)
    if isinstance(document.get("folds"), str):
        document["folds"] = _named_folds(document["folds"], store, file)
    if "trials" in document:
        document = {"sampler": "grid", "settings": {}, **document}
    header: SpaceHeader | None = file.checked(SpaceHeader, document)
    if header is None:
        return None

    # Objective and folds are names to the model; which there are only the store knows.
    objectives = [*OBJECTIVES, *store.target_names]
    if header.objective not in objectives:
        sentence = unknown_name("objective", header.objective, objectives)
        file.problem(("objective",), sentence)
    for index, fold in enumerate(header.folds):
        _check_fold(fold, store, ("folds", index), file)
    # The official split by its number would be the same training once more.
    number = store.official_fold
    if number in header.folds and OFFICIAL in header.folds:
        sentence = f"fold {number} of {store.path} is the official split, which is given too"
        file.problem(("folds",), sentence)
    folds = [OFFICIAL if fold == number else fold for fold in header.folds]
    if len(file.problems) > noted:
        return None
    return header.model_copy(update={"folds": folds})


def _named_folds(name: str, store: Store, file: YamlFile) -> list[int | str]:
    """The folds that one word stands for: `all` are the store's, by number."""
    if name != ALL:
        expected = f"{ALL}, or a list such as [{OFFICIAL}]"
        file.problem(("folds",), expected_found(expected, name))
    elif not store.fold_numbers:
        command = folds_command(store)
        advice = f"; make some: {command}" if command else ""
        file.problem(("folds",), f"{store.place} has no folds{advice}")
    return [*store.fold_numbers] or [OFFICIAL]


def _check_fold(key: int | str, store: Store, place: Place, file: YamlFile) -> None:
    keys = [*store.fold_keys, MIX]
    if key not in keys:
        unknown = unknown_name("fold", key, map(str, keys))
        file.problem(place, f"{unknown} in {store.path}")
        return
    fold = store.fold(key)
    parts = {"training": fold.train, "validation": fold.validation}
    if not FoldKind(key).has_validation:
        parts = {"training": fold.train, "test": fold.test}
    for part, recordings in parts.items():
        if not recordings:
            file.problem(place, f"fold {key!r} of {store.path} has no {part} recordings")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between an older document of a space and a newer one, one line each, in plain
    words."""
    before, now = _flat(old), _flat(new)
    lines = []
    for name in dict.fromkeys([*now, *before]):
        if name in ("trials", "first"):
            listed = len(now.get(name) or []), len(before.get(name) or [])
            if now.get(name) != before.get(name):
                what = "trials" if name == "trials" else "first configurations"
                lines.append(f"it lists {listed[0]} {what}, {listed[1]} before")
        elif name not in before:
            lines.append(f"{name} is new: {flow(now[name])}")
        elif name not in now:
            lines.append(f"{name} is gone; it was {flow(before[name])}")
        elif before[name] != now[name]:
            lines.append(f"{name} was {flow(before[name])}, now is {flow(now[name])}")
    return lines


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a document, those of its settings beside them."""
    flat = dict(document)
    for name, declared in (flat.pop("settings", None) or {}).items():
        flat[f"settings.{name}"] = declared
    return flat
