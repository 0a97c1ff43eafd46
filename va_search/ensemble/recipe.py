"""Recipes: how an ensemble is built, one YAML file a recipe.

    method: bagged_greedy  # how weights are chosen, per dimension; with the method's own options beside it
    bags: 20
    match_members: true    # scale and shift each member alike before anything is chosen
    prune: {top: 50}       # who is weighed at all: the best `top`, `per_encoder`, `per_features` so many; `helpful`
    shrink: auto           # so far toward other weights on the pruned members: 0..1, a list, or auto
    toward: equal          # which ones: equal, or nnls (least squares, not negative)
    match: true            # scale and shift to the annotation's mean and variance: true, false, partial or auto
    smooth: {kind: moving_average, seconds: [0, 0.5, 1]}   # or savitzky_golay, or `smooth: none`
    delay: {seconds: [0, 0.2]}
    members:
      outside: true        # are models from elsewhere (`va-search bank add`) members too?
      folds: official      # or all, or train_val_mix; unless said, the fold with most trials
    valence: {bags: 30}    # optional: what differs for one dimension; another method too
    arousal: {}

    method: auto           # the recipe of these that wins out-of-fold, per dimension
    among: [mean, greedy]  # names of recipe files beside this one

    method: blend          # whole ensembles, each finished by itself, then averaged
    of: {greedy: 0.5, mean: 0.5}   # recipes by name, with shares that sum to 1

`folds: all`: members are configurations that are complete on all folds of the store, judged on
every labelled recording. `folds: train_val_mix`: members are trials that trained on all of them;
nothing is left to judge on, so the method is `mean`, and nothing is chosen.

Conventions: the menu is `methods.METHODS`, with options from signatures; every problem of a file
is reported at once, with its line. A list of candidates is chosen from out-of-fold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from va_search.data.sheet import exact
from va_search.data.store import MIX
from va_search.document import read_yaml, yaml_document
from va_search.ensemble.candidates import NO_VALIDATION
from va_search.ensemble.methods import Strict
from va_search.ensemble.pipeline import Pipeline, Prune
from va_search.ensemble.reader import Lines, Place, Reader
from va_search.errors import InputError, unknown_name
from va_search.files import shipped
from va_search.metrics import DIMENSIONS

FOLDER = Path("ensembles")


class Members(Strict):
    """Which trials may be members at all; `folds` None: those on the fold with most trials."""

    outside: bool = True
    folds: Literal["official", "all", "train_val_mix"] | None = None


class Auto(Strict):
    """The best of several recipes, chosen out-of-fold."""

    method: Literal["auto"]
    among: Annotated[list[str], Field(min_length=2)]


class Blend(Strict):
    """The weighted mean of whole ensembles."""

    method: Literal["blend"]
    of: Annotated[dict[str, Annotated[float, Field(gt=0, le=1)]], Field(min_length=2)]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its name, what the file said, and the plan of each dimension.

    `among` are the recipes that `auto` chooses from, `of` shares and recipes of a blend; `plans` is
    empty then, and both for any other."""

    name: str
    document: dict[str, Any]
    members: Members
    plans: dict[str, Pipeline]
    among: tuple[Recipe, ...] = ()
    of: tuple[tuple[float, Recipe], ...] = ()

    def over(self, folds: Literal["official", "all"]) -> Recipe:
        """The same recipe with members on these folds; InputError where its parts say that
        themselves."""
        if self.of or self.members.folds == MIX:
            why = "its parts say that themselves" if self.of else f"trials {NO_VALIDATION}"
            raise InputError(
                f"recipe {self.name}: its members' folds can't be changed to {folds}: {why}"
            )
        members = {**(self.document.get("members") or {}), "folds": folds}
        said = {**self.document, "members": members}
        return replace(self, document=said, members=Members.model_validate(members))


def load_recipe(recipe: str | Path) -> Recipe:
    """The recipe in a file, or of a name such as greedy or paper/six_fold: in ./ensembles, or the
    repository's own.

    InputError with every problem and its line; an unknown name answers with the recipes that are
    there."""
    path = _find(str(recipe))
    with yaml_document(path) as (document, lines):
        return read_recipe(path.stem, document, lines, where=str(path), beside=path.parent)


def known_recipes() -> dict[str, Path]:
    """Recipes by name: the repository's, and over them those in ./ensembles."""
    found: dict[str, Path] = {}
    for folder in (_shipped(), FOLDER):
        if folder is not None:
            found |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return found


def read_recipe(
    name: str,
    document: Any,
    lines: Lines | None = None,
    *,
    where: str = "recipe",
    beside: Path | None = None,
) -> Recipe:
    """A recipe from plain data; `auto` looks in the folder `beside` first. InputError as in
    `load_recipe`."""
    if not isinstance(document, dict):
        raise InputError(f"{where}: expected keys such as `method: greedy`, found {document!r}")
    if {"sampler", "settings"} & document.keys() and "method" not in document:
        raise InputError(
            f"{where}: this is a search space (`va-search search`), expected a recipe such as `method: greedy`"
        )
    reader = Reader(lines or {}, where)
    shared = {key: value for key, value in document.items() if key not in ("members", *DIMENSIONS)}
    given = {} if document.get("members") is None else document["members"]
    members = reader.checked(Members, given, lambda at: ("members", *at))
    plans: dict[str, Pipeline] = {}
    among: tuple[Recipe, ...] = ()
    of: tuple[tuple[float, Recipe], ...] = ()
    if shared.get("method") == "auto":
        among = _among(reader, document, shared, beside)
    elif shared.get("method") == "blend":
        of = _of(reader, document, shared, beside)
    else:
        if "method" in shared:
            reader.plan(shared, None, "")  # also where both dimensions have methods of their own
        plans = {
            dimension: reader.plan(shared, document.get(dimension), dimension)
            for dimension in DIMENSIONS
        }
    if members is not None and members.folds == MIX:
        _refuse_choices(reader, plans)
    if reader.problems:
        raise InputError(*dict.fromkeys(reader.problems))
    return Recipe(name, document, members, plans, among, of)


def _find(recipe: str) -> Path:
    path = Path(recipe)
    if path.is_file():
        return path
    if not path.suffix and not path.is_absolute() and path.name != recipe:
        for folder in (FOLDER, _shipped()):
            if folder is not None and (folder / f"{recipe}.yaml").is_file():
                return folder / f"{recipe}.yaml"
    if path.name == recipe and not path.suffix:
        known = known_recipes()
        if recipe in known:
            return known[recipe]
        raise InputError(
            unknown_name("recipe", recipe, known)
            + f"; recipes are YAML files, looked up in {FOLDER}/"
        )
    raise InputError(f"{path}: no such recipe file")


def _shipped() -> Path | None:
    """The repository's recipes; None where va-search runs without its repository."""
    try:
        return shipped("ensembles/greedy.yaml").parent
    except InputError:
        return None


def _among(
    reader: Reader, document: dict[str, Any], shared: dict[str, Any], beside: Path | None
) -> tuple[Recipe, ...]:
    """The recipes that `auto` chooses from."""
    for dimension in DIMENSIONS:
        if document.get(dimension) is not None:
            reader.problem(
                (dimension,), "method auto chooses for each dimension by itself; leave this out"
            )
    auto = reader.checked(Auto, shared, lambda at: at)
    known = _beside(beside)
    found: list[Recipe] = []
    for index, name in enumerate(auto.among if auto else ()):
        at: Place = ("among", index)
        if name not in known:
            reader.problem(at, unknown_name("recipe", name, known))
        elif any(other.name == name for other in found):
            reader.problem(at, f"recipe {name!r} stands twice; keep one")
        elif (method := _method_of(known[name])) in ("auto", "blend"):
            reader.problem(
                at, f"recipe {name!r} is of method {method} itself and can't be chosen from"
            )
        elif (recipe := load_recipe(known[name])).members.folds is not None:
            reader.problem(
                at, f"recipe {name!r} says its members' folds itself and can't be chosen from"
            )
        else:
            found.append(recipe)
    return tuple(found)


def _of(
    reader: Reader, document: dict[str, Any], shared: dict[str, Any], beside: Path | None
) -> tuple[tuple[float, Recipe], ...]:
    """Shares and recipes of a blend."""
    for key in ("members", *DIMENSIONS):
        if document.get(key) is not None:
            reader.problem((key,), "the parts of a blend say this themselves; leave it out")
    if isinstance(shared.get("of"), dict):  # YAML reads 1 as a whole number
        shared = {
            **shared,
            "of": {k: float(v) if type(v) is int else v for k, v in shared["of"].items()},
        }
    blend = reader.checked(Blend, shared, lambda at: at)
    known = _beside(beside)
    found: list[tuple[float, Recipe]] = []
    for name, share in (blend.of if blend else {}).items():
        at: Place = ("of", name)
        if name not in known:
            reader.problem(at, unknown_name("recipe", name, known))
        elif _method_of(known[name]) == "blend":
            reader.problem(at, f"recipe {name!r} is a blend itself; name its parts here")
        else:
            found.append((share, load_recipe(known[name])))
    total = sum(blend.of.values()) if blend else 1.0
    if abs(total - 1.0) > 1e-6:
        reader.problem(("of",), f"shares must sum to 1, but got {exact(total)}")
    return tuple(found)


def _beside(folder: Path | None) -> dict[str, Path]:
    """Recipes that another may name: those in its own folder first."""
    return known_recipes() | (
        {} if folder is None else {path.stem: path for path in folder.glob("*.yaml")}
    )


def _method_of(path: Path) -> Any:
    document, _ = read_yaml(path)
    return document.get("method") if isinstance(document, dict) else None


def _refuse_choices(reader: Reader, plans: dict[str, Any]) -> None:
    """Members without validation: nothing can be chosen or matched."""
    why = f"members {NO_VALIDATION}: nothing can be chosen"
    if not plans:
        reader.problem(("method",), f"{why}; allowed: mean")
    for plan in plans.values():
        if plan is None:
            continue
        if plan.method != "mean":
            reader.problem(("method",), f"{why}, so method {plan.method} can't be; allowed: mean")
        shared = plan.shared
        given = {
            "match_members": shared.match_members,
            "prune": shared.prune != Prune(),
            "shrink": shared.shrink != [0.0],
            "match": shared.match != [False],
        }
        for key in [key for key, is_there in given.items() if is_there]:
            reader.problem((key,), f"{why}, so `{key}` can't be; leave it out")
        if len(plan.filters) > 1:
            reader.problem(
                ("smooth",), f"{why}: give one window and one delay, not several to choose from"
            )
