"""Recipes: how an ensemble is built, one YAML file a recipe.

    method: greedy        # how weights are chosen, per dimension; with the method's own settings beside it
    steps: 50
    members:
      outside: true       # are models from elsewhere (`va-search bank add`) members too?
    valence: {steps: 30}  # optional: what differs for one dimension; another method too
    arousal: {}

Conventions: the menu is METHODS below; every problem of a file is reported at once, with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from va_search.ensemble import select
from va_search.ensemble.statistics import Moments, Vector
from va_search.errors import InputError, unknown_name
from va_search.files import read_yaml
from va_search.metrics import DIMENSIONS

SHIPPED = Path("ensembles")
Place = tuple[str | int, ...]
Lines = Mapping[Place, int]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Best(Strict):
    """The single member with the highest CCC."""

    method: Literal["best"] = "best"

    def weights(self, moments: Moments) -> Vector:
        return select.best(moments)


class TopK(Strict):
    """The plain mean of the `k` members with the highest CCC."""

    method: Literal["top_k"] = "top_k"
    k: Annotated[int, Field(ge=1)] = 10

    def weights(self, moments: Moments) -> Vector:
        return select.top_k(moments, self.k)


class Mean(Strict):
    """The plain mean of all members."""

    method: Literal["mean"] = "mean"

    def weights(self, moments: Moments) -> Vector:
        return select.mean(moments)


class Greedy(Strict):
    """Greedy selection with replacement for `steps` steps, from the best mean of at most `start` top members."""

    method: Literal["greedy"] = "greedy"
    steps: Annotated[int, Field(ge=0, le=10_000)] = 50
    start: Annotated[int, Field(ge=1)] = 1

    def weights(self, moments: Moments) -> Vector:
        return select.greedy(moments, self.steps, self.start)


METHODS: dict[str, type[Best | TopK | Mean | Greedy]] = {"best": Best, "top_k": TopK, "mean": Mean, "greedy": Greedy}


class Members(Strict):
    """Which trials may be members at all."""

    outside: bool = True


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its name, what the file said, and the method of each dimension."""

    name: str
    document: dict[str, Any]
    members: Members
    methods: dict[str, Best | TopK | Mean | Greedy]


def load_recipe(recipe: str | Path) -> Recipe:
    """The recipe in a file, or of a bare name (`greedy`: ./ensembles/greedy.yaml).

    InputError with every problem and its line; an unknown name answers with the recipes that are there.
    """
    path = _find(str(recipe))
    document, lines = read_yaml(path)
    return read_recipe(path.stem, document, lines, where=str(path))


def read_recipe(name: str, document: Any, lines: Lines | None = None, *, where: str = "recipe") -> Recipe:
    """A recipe from plain data; InputError as in `load_recipe`."""
    if not isinstance(document, dict):
        raise InputError(f"{where}: expected keys such as `method: greedy`, found {document!r}")
    reader = _Reader(lines or {}, where)
    shared = {key: value for key, value in document.items() if key not in ("members", *DIMENSIONS)}
    given = {} if document.get("members") is None else document["members"]
    members = reader.checked(Members, given, lambda key: ("members", key))
    if "method" in shared:
        reader.method(shared, None, "")  # also where both dimensions have methods of their own
    methods = {dimension: reader.method(shared, document.get(dimension), dimension) for dimension in DIMENSIONS}
    if reader.problems:
        raise InputError(*dict.fromkeys(reader.problems))
    return Recipe(name, document, members, methods)


def _find(recipe: str) -> Path:
    path = Path(recipe)
    if path.is_file():
        return path
    if path.name == recipe and not path.suffix:
        named = SHIPPED / f"{recipe}.yaml"
        if named.is_file():
            return named
        known = [file.stem for file in SHIPPED.glob("*.yaml")]
        raise InputError(unknown_name("recipe", recipe, known) + f"; recipes are YAML files, looked up in {SHIPPED}/")
    raise InputError(f"{path}: no such recipe file")


class _Reader:
    """Gathers the problems of one file, each with its line."""

    def __init__(self, lines: Lines, where: str) -> None:
        self.lines = lines
        self.where = where
        self.problems: list[str] = []

    def method(self, shared: dict[Any, Any], own: Any, dimension: str) -> Any:
        """The method of one dimension: what all share, and over it what the dimension's own part says."""
        own = {} if own is None else own
        if not isinstance(own, dict):
            self.problem((dimension,), f"expected settings such as {{steps: 30}}, but got {own!r}")
            return None
        if "method" in shared and own.get("method", shared["method"]) != shared["method"]:
            shared = {}  # another method has other settings
        given = {**shared, **own}
        name = given.get("method")
        if name is None:
            self.problem((), f"`method` is missing; allowed: {', '.join(METHODS)}")
            return None
        if name not in list(METHODS):
            self.problem(
                (dimension, "method") if "method" in own else ("method",), unknown_name("method", name, METHODS)
            )
            return None
        return self.checked(METHODS[name], given, lambda key: (dimension, key) if key in own else (key,))

    def checked(self, model: type[Strict], given: Any, place: Callable[[str], Place]) -> Any:
        """An instance of `model`, or None with every problem noted; `place` tells where in the file a key stands."""
        try:
            return model.model_validate(given)
        except ValidationError as error:
            for problem in error.errors():
                key = str(problem["loc"][0]) if problem["loc"] else ""
                self.problem(place(key), _said(problem, key, model, given))
        return None

    def problem(self, at: Place, text: str) -> None:
        line = next((self.lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.lines), None)
        self.problems.append(f"{self.where}: {text}" if line is None else f"{self.where}:{line}: {text}")


def _said(problem: Any, key: str, model: type[Strict], given: Any) -> str:
    if problem["type"] == "extra_forbidden":
        menu = f" of method {given['method']}" if "method" in model.model_fields else " of members"
        return unknown_name(f"key{menu}", key, model.model_fields)
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{f'`{key}`: ' if key else ''}{message}, but got {problem['input']!r}"
