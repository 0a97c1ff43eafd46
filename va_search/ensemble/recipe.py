"""Recipes: how an ensemble is built, one YAML file a recipe.

    method: bagged_greedy  # how weights are chosen, per dimension; with the method's own options beside it
    bags: 20
    prune: {top: 50}       # who is weighed at all: the best `top`, `per_encoder`, `per_features` so many
    shrink: auto           # so far toward the equal weights of the pruned members: 0..1, a list, or auto
    match: true            # scale and shift to the annotation's mean and variance: true, false or auto
    smooth: {kind: moving_average, seconds: [0, 0.5, 1]}   # or savitzky_golay, or `smooth: none`
    delay: {seconds: [0, 0.2]}
    members:
      outside: true        # are models from elsewhere (`va-search bank add`) members too?
    valence: {bags: 30}    # optional: what differs for one dimension; another method too
    arousal: {}

    method: auto           # the recipe of these that wins out-of-fold, per dimension
    among: [mean, greedy]  # names of recipe files beside this one

Conventions: the menu is `weigh.METHODS`, and its options stand in plan.py; every problem of a file is reported at
once, with its line. A list of candidates is chosen from out-of-fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from va_search.ensemble.plan import OPTIONS, Delay, Plan, Prune, Shared, Smooth, Strict
from va_search.errors import InputError, unknown_name
from va_search.files import read_yaml, shipped
from va_search.metrics import DIMENSIONS

FOLDER = Path("ensembles")
Place = tuple[str | int, ...]
Lines = Mapping[Place, int]


class Members(Strict):
    """Which trials may be members at all."""

    outside: bool = True


class Auto(Strict):
    """The best of several recipes, chosen out-of-fold."""

    method: Literal["auto"]
    among: Annotated[list[str], Field(min_length=2)]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its name, what the file said, and the plan of each dimension.

    `among` are the recipes that `auto` chooses from; `plans` is empty then, and `among` for any other.
    """

    name: str
    document: dict[str, Any]
    members: Members
    plans: dict[str, Plan]
    among: tuple[Recipe, ...] = ()


def load_recipe(recipe: str | Path) -> Recipe:
    """The recipe in a file, or of a bare name: ./ensembles/<name>.yaml, or the repository's own.

    InputError with every problem and its line; an unknown name answers with the recipes that are there.
    """
    path = _find(str(recipe))
    document, lines = read_yaml(path)
    return read_recipe(path.stem, document, lines, where=str(path), beside=path.parent)


def known_recipes() -> dict[str, Path]:
    """Recipes by name: the repository's, and over them those in ./ensembles."""
    found: dict[str, Path] = {}
    for folder in (_shipped(), FOLDER):
        if folder is not None:
            found |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return found


def read_recipe(
    name: str, document: Any, lines: Lines | None = None, *, where: str = "recipe", beside: Path | None = None
) -> Recipe:
    """A recipe from plain data; `auto` looks in the folder `beside` first. InputError as in `load_recipe`."""
    if not isinstance(document, dict):
        raise InputError(f"{where}: expected keys such as `method: greedy`, found {document!r}")
    reader = _Reader(lines or {}, where)
    shared = {key: value for key, value in document.items() if key not in ("members", *DIMENSIONS)}
    given = {} if document.get("members") is None else document["members"]
    members = reader.checked(Members, given, lambda at: ("members", *at))
    plans: dict[str, Plan] = {}
    among: tuple[Recipe, ...] = ()
    if shared.get("method") == "auto":
        among = _among(reader, document, shared, beside)
    else:
        if "method" in shared:
            reader.plan(shared, None, "")  # also where both dimensions have methods of their own
        plans = {dimension: reader.plan(shared, document.get(dimension), dimension) for dimension in DIMENSIONS}
    if reader.problems:
        raise InputError(*dict.fromkeys(reader.problems))
    return Recipe(name, document, members, plans, among)


def _find(recipe: str) -> Path:
    path = Path(recipe)
    if path.is_file():
        return path
    if path.name == recipe and not path.suffix:
        known = known_recipes()
        if recipe in known:
            return known[recipe]
        raise InputError(unknown_name("recipe", recipe, known) + f"; recipes are YAML files, looked up in {FOLDER}/")
    raise InputError(f"{path}: no such recipe file")


def _shipped() -> Path | None:
    """The repository's recipes; None where va-search runs without its repository."""
    try:
        return shipped("ensembles/greedy.yaml").parent
    except InputError:
        return None


def _among(
    reader: _Reader, document: dict[str, Any], shared: dict[str, Any], beside: Path | None
) -> tuple[Recipe, ...]:
    """The recipes that `auto` chooses from."""
    for dimension in DIMENSIONS:
        if document.get(dimension) is not None:
            reader.problem((dimension,), "method auto chooses for each dimension by itself; leave this out")
    auto = reader.checked(Auto, shared, lambda at: at)
    found: list[Recipe] = []
    for index, name in enumerate(auto.among if auto else ()):
        at: Place = ("among", index)
        known = known_recipes() | ({} if beside is None else {path.stem: path for path in beside.glob("*.yaml")})
        if name not in known:
            reader.problem(at, unknown_name("recipe", name, known))
        elif any(other.name == name for other in found):
            reader.problem(at, f"recipe {name!r} stands twice; keep one")
        elif _is_auto(known[name]):
            reader.problem(at, f"recipe {name!r} is of method auto itself and can't be chosen from")
        else:
            found.append(load_recipe(known[name]))
    return tuple(found)


def _is_auto(path: Path) -> bool:
    document, _ = read_yaml(path)
    return isinstance(document, dict) and document.get("method") == "auto"


class _Reader:
    """Gathers the problems of one file, each with its line."""

    def __init__(self, lines: Lines, where: str) -> None:
        self.lines = lines
        self.where = where
        self.problems: list[str] = []

    def plan(self, shared: dict[Any, Any], own: Any, dimension: str) -> Any:
        """The plan of one dimension: what the file says for both, and over it what the dimension's own part says."""
        own = {} if own is None else own
        if not isinstance(own, dict):
            self.problem((dimension,), f"expected settings such as {{steps: 30}}, but got {own!r}")
            return None
        if "method" in shared and own.get("method", shared["method"]) != shared["method"]:
            shared = {key: value for key, value in shared.items() if key in Shared.model_fields}  # other options
        given = {**shared, **own}
        if not self._method(given.get("method"), (dimension, "method") if "method" in own else ("method",)):
            return None
        options = OPTIONS[given["method"]]
        common = {key: value for key, value in given.items() if key in Shared.model_fields}
        rest = {key: value for key, value in given.items() if key not in Shared.model_fields}

        def place(at: Place) -> Place:
            return (dimension, *at) if at and at[0] in own else at

        chosen = self.checked(options, rest, place, [*options.model_fields, *Shared.model_fields])
        finishing = self.checked(Shared, common, place)
        return None if chosen is None or finishing is None else Plan(chosen, finishing)

    def _method(self, name: Any, at: Place) -> bool:
        if name is None:
            self.problem((), f"`method` is missing; allowed: {', '.join([*OPTIONS, 'auto'])}")
        elif name == "auto":
            self.problem(at, "method auto stands at the top of a file, for both dimensions")
        elif name not in list(OPTIONS):
            self.problem(at, unknown_name("method", name, [*OPTIONS, "auto"]))
        else:
            return True
        return False

    def checked(
        self, model: type[Strict], given: Any, place: Callable[[Place], Place], allowed: list[str] | None = None
    ) -> Any:
        """An instance of `model`, or None with every problem noted; `place` tells where in the file a key stands."""
        try:
            return model.model_validate(given)
        except ValidationError as error:
            for problem in error.errors():
                self.problem(place(tuple(problem["loc"])), _said(problem, given, allowed or list(model.model_fields)))
        return None

    def problem(self, at: Place, text: str) -> None:
        line = next((self.lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.lines), None)
        self.problems.append(f"{self.where}: {text}" if line is None else f"{self.where}:{line}: {text}")


INSIDE: dict[str, type[Strict]] = {"prune": Prune, "smooth": Smooth, "delay": Delay}


def _said(problem: Any, given: Any, allowed: list[str]) -> str:
    at = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        if len(at) > 1:
            return unknown_name(f"key of {at[0]}", at[-1], INSIDE[at[0]].model_fields)
        what = f"key of method {given['method']}" if "method" in given else "key of members"
        return unknown_name(what, at[0], allowed)
    message = problem["msg"][0].lower() + problem["msg"][1:]
    key = f"`{'.'.join(at)}`: " if at else ""
    return f"{key}{message}, but got {problem['input']!r}"
