"""The top level of a search space: how it is searched. What may vary stands under `settings`:
declaration.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from va_search.data.folds import folds_command
from va_search.data.store import MIX, OFFICIAL, Store
from va_search.errors import unknown_name
from va_search.search.problems import Place, Problems, plain

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
Count = Annotated[int, Field(ge=1)]


class Budget(BaseModel):
    """What a study may cost: so many trials (one configuration, seed and fold each), so many hours,
    so many trials in a row without a better objective. None: no bound."""

    model_config = STRICT
    trials: Count | None = None
    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    no_improvement: Count | None = None


class EarlyStopping(BaseModel):
    """ASHA: after `grace_epochs`, and again each `reduction_factor` times as late, the best one in `reduction_factor` of the trials goes on."""  # noqa: E501

    model_config = STRICT
    grace_epochs: Count = 5
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class Header(BaseModel):
    """Everything of a search space but its settings."""

    model_config = STRICT
    sampler: Literal["grid", "random", "tpe"]
    sampler_seed: Annotated[int, Field(ge=0)] = 0
    objective: Literal["score", "valence", "arousal", "both", "ensemble"] = "score"
    budget: Budget = Budget()
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]
    folds: Annotated[list[int | str], Field(min_length=1)] = ["official"]
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        for name, values in (("seeds", self.seeds), ("folds", self.folds)):
            if len(set(values)) < len(values):
                raise ValueError(f"`{name}` {values}: one stands twice; keep one")
        going_by_scores = {
            "sampler tpe": self.sampler == "tpe",
            "`early_stopping`": self.early_stopping is not None,
            "`budget.no_improvement`": self.budget.no_improvement is not None,
        }
        if MIX in self.folds and any(going_by_scores.values()):
            what = next(name for name, given in going_by_scores.items() if given)
            raise ValueError(
                f"fold {MIX} has no validation scores, which {what} goes by: take sampler grid or random without "
                f"`early_stopping` and `no_improvement`, or give {MIX} a space of its own"
            )
        if self.objective == "ensemble" and self.sampler != "tpe":
            raise ValueError(
                f"objective ensemble tells the sampler what trials add, but {self.sampler} learns nothing"
            )
        if self.sampler != "grid" and self.budget.trials is None:
            raise ValueError(
                f"`budget.trials` must be given for sampler {self.sampler}, which never ends by itself; for a bound in "
                "hours alone give a large number"
            )
        return self


KEYS = {
    "budget": sorted(Budget.model_fields),
    "early_stopping": sorted(EarlyStopping.model_fields),
    "": sorted([*Header.model_fields, "settings"]),
}


def read_header(document: dict[str, Any], store: Store, problems: Problems) -> Header | None:
    """The header of a space; None when there was a problem, which then is recorded."""
    before = len(problems.found)
    if "settings" not in document:
        problems.add(
            (), "`settings` is missing; it says what may vary, such as settings: {features: all}"
        )
    said = {key: value for key, value in document.items() if key != "settings"}
    if isinstance(said.get("folds"), str):
        said["folds"] = _named_folds(said["folds"], store, problems)
    try:
        header = Header.model_validate(said)
    except ValidationError as error:
        for each in error.errors():
            _record(each, problems)
        return None
    for index, fold in enumerate(header.folds):
        _check_fold(fold, store, ("folds", index), problems)
    if len(problems.found) > before:
        return None
    return header.model_copy(update={"folds": _once_each(header.folds, store, problems)})


def _named_folds(name: str, store: Store, problems: Problems) -> list[int | str]:
    """The folds that one word stands for: `all` are the store's, by number."""
    if name != ALL:
        problems.add(("folds",), f"expected all, or a list such as [{OFFICIAL}]; found {name!r}")
    elif not store.fold_numbers:
        make_some = folds_command(store)
        problems.add(
            ("folds",),
            f"{store.place} has no folds" + (f"; make some: {make_some}" if make_some else ""),
        )
    return [*store.fold_numbers] or [OFFICIAL]


def _once_each(folds: list[int | str], store: Store, problems: Problems) -> list[int | str]:
    """Folds with "official" for the number of the official split, which would be the same training
    twice."""
    number = store.official_fold
    if number in folds and OFFICIAL in folds:
        problems.add(
            ("folds",),
            f"fold {number} of {store.path} is the official split, which stands there too",
        )
    return [OFFICIAL if fold == number else fold for fold in folds]


def _record(error: Any, problems: Problems) -> None:
    place: Place = tuple(part for part in error["loc"] if part not in ("int", "str"))
    inside = place[0] if len(place) > 1 else ""
    if error["type"] == "missing":
        problems.add((), f"`{place[-1]}` is missing; {SAMPLERS}")
    else:
        problems.add(place, plain(error, KEYS.get(str(inside), KEYS[""])))


ALL = "all"
SAMPLERS = (
    "one of grid (every configuration), random, tpe (learns from finished trials) must be given"
)


def _check_fold(key: int | str, store: Store, at: Place, problems: Problems) -> None:
    known = [*store.fold_keys, MIX]
    if key not in known:
        problems.add(at, unknown_name("fold", key, map(str, known)) + f" in {store.path}")
        return
    fold = store.fold(key)
    other = ("test", fold.test) if key == MIX else ("validation", fold.validation)
    for part, recordings in (("training", fold.train), other):
        if not recordings:
            problems.add(at, f"fold {key!r} of {store.path} has no {part} recordings")
