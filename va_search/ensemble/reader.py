"""Reading a recipe's parts: every problem of a file is gathered, with its line, before any is
raised.

Conventions: `lines` are those of `document.read_yaml`; a problem stands at the line of its key, or
of the nearest key around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from va_search.document import number_hint
from va_search.ensemble.methods import OPTIONS, Strict
from va_search.ensemble.pipeline import Delay, Pipeline, Prune, SharedOptions, Smooth
from va_search.errors import unknown_name

Place = tuple[str | int, ...]
Lines = Mapping[Place, int]
TOP = ("auto", "blend")
"""Methods made of other recipes, for both dimensions."""


class Reader:
    """Gathers the problems of one file, each with its line."""

    def __init__(self, lines: Lines, where: str) -> None:
        self.lines = lines
        self.where = where
        self.problems: list[str] = []

    def plan(self, shared: dict[Any, Any], own: Any, dimension: str) -> Any:
        """The plan of one dimension: what the file says for both, and over it what the dimension's
        own part says."""
        own = {} if own is None else own
        if not isinstance(own, dict):
            self.problem((dimension,), f"expected settings such as {{steps: 30}}, but got {own!r}")
            return None
        if "method" in shared and own.get("method", shared["method"]) != shared["method"]:
            shared = {
                key: value for key, value in shared.items() if key in SharedOptions.model_fields
            }  # other options
        given = {**shared, **own}
        if not self._method(
            given.get("method"), (dimension, "method") if "method" in own else ("method",)
        ):
            return None
        options = OPTIONS[given["method"]]
        common = {key: value for key, value in given.items() if key in SharedOptions.model_fields}
        rest = {key: value for key, value in given.items() if key not in SharedOptions.model_fields}

        def place(at: Place) -> Place:
            return (dimension, *at) if at and at[0] in own else at

        chosen = self.checked(
            options, rest, place, [*options.model_fields, *SharedOptions.model_fields]
        )
        finishing = self.checked(SharedOptions, common, place)
        if chosen is None or finishing is None:
            return None
        if finishing.match_members and chosen.method == "ridge":
            self.problem(
                place(("match_members",)),
                "method ridge has negative weights, which need members as they are",
            )
        return Pipeline(chosen, finishing)

    def _method(self, name: Any, at: Place) -> bool:
        if name is None:
            self.problem((), f"`method` is missing; allowed: {', '.join([*OPTIONS, *TOP])}")
        elif name in TOP:
            self.problem(at, f"method {name} stands at the top of a file, for both dimensions")
        elif name not in list(OPTIONS):
            self.problem(at, unknown_name("method", name, [*OPTIONS, *TOP]))
        else:
            return True
        return False

    def checked(
        self,
        model: type[Strict],
        given: Any,
        place: Callable[[Place], Place],
        allowed: list[str] | None = None,
    ) -> Any:
        """An instance of `model`, or None with every problem noted; `place` tells where in the file
        a key stands."""
        try:
            return model.model_validate(given)
        except ValidationError as error:
            for problem in error.errors():
                self.problem(
                    place(tuple(problem["loc"])),
                    _said(problem, given, allowed or list(model.model_fields)),
                )
        return None

    def problem(self, at: Place, text: str) -> None:
        line = next(
            (self.lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self.lines), None
        )
        self.problems.append(
            f"{self.where}: {text}" if line is None else f"{self.where}:{line}: {text}"
        )


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
    return f"{key}{message}, but got {problem['input']!r}{number_hint(problem['input'])}"
