"""Files of YAML that people write, read against models of pydantic: `read_document(path, Model)`.

There is one wording for each mistake, whatever kind of file it is made in:

    space.yaml:4: budget.trials: expected a number of 1 or more, found 0
    space.yaml:7: settings.epoch: unknown setting 'epoch'; did you mean 'epochs'? (known: …)

PyYAML reads YAML 1.1, where `1:30` is the number 90, `010` is 8, `on` is true and 2026-01-01 is a
date. Whoever wrote such a value most likely meant something else, so it is reported: what is
written, what YAML makes of it, what to write instead. Numbers with an exponent and without a point
(`1e-5`) are texts in YAML 1.1; where a number is expected, the message says how to write them.

Conventions: a place is the keys and item numbers from the top of the document to a value. Lines
count from 1. What stands in quotes is a text, as written. All problems of a file are raised at
once, in the order of their lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from va_search.document.traps import read_lines
from va_search.document.words import WORDS, Place, expected_found, explain, placed
from va_search.errors import InputError

Model = TypeVar("Model")


class StrictModel(BaseModel):
    """An entry of a file: unknown keys and values of another type are refused.

    `SYNONYMS` are other names by which people call its keys; the message for an unknown key then
    gives the right one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class YamlFile:
    """A YAML file as read, and all that was found wrong with it so far.

    `data` is plain data, `lines` the line of each key and item by its place. A document that was
    kept elsewhere (in a study) has no lines."""

    def __init__(
        self, path: Path | str, data: Any, lines: Mapping[Place, int] | None = None
    ) -> None:
        self.path = path
        self.data = data
        self.lines = lines or {}
        self.problems: list[tuple[int, str]] = []

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read a file; traps of YAML 1.1 count among its problems. InputError, with the line, for
        bad syntax and for a key that is given twice."""
        data, lines, traps = read_lines(path)
        file = cls(path, data, lines)
        for line, trap in traps:
            file.problems.append((line, f"{path}:{line}: {trap}"))
        return file

    def expect_mapping(self, kind: str) -> dict[str, Any]:
        """Return the document; InputError when it is no mapping. `kind`: "a search space"."""
        if not isinstance(self.data, dict):
            self.problem((), expected_found(f"{kind}, {WORDS['dict']}", self.data))
            self.stop()
        return cast(dict[str, Any], self.data)

    def checked(
        self,
        model: type[Model] | Any,
        data: Any,
        place: Place | Callable[[Place], Place] = (),
        *,
        also: Collection[str] = (),
        context: Mapping[str, Any] | None = None,
    ) -> Model | None:
        """Validate `data` of the file against a model, or another type that pydantic knows; None
        when there are problems, which then are noted.

        `place` is that of `data`, or leads from a place in `data` to the one in the file. `also`
        are keys that the caller reads itself, for the list of known ones."""
        try:
            return cast(
                Model, _adapter(cast(Hashable, model)).validate_python(data, context=context)
            )
        except ValidationError as error:
            for inner, sentence in explain(error, model, also):
                self.problem(place(inner) if callable(place) else (*place, *inner), sentence)
        return None

    def problem(self, place: Place, sentence: str) -> None:
        """Note what is wrong at a place."""
        line = nearest_line(self.lines, place)
        self.problems.append((line, f"{self.path}:{line}: {placed(place, sentence)}"))

    def stop(self) -> None:
        """Raise InputError with every problem so far; do nothing when there is none."""
        if self.problems:
            ordered = sorted(self.problems, key=lambda problem: problem[0])
            raise InputError(*dict.fromkeys(text for _, text in ordered))


@lru_cache(maxsize=1024)
def _adapter(model: Any) -> TypeAdapter[Any]:
    """Return pydantic's validator of a type: making one takes longer than using it."""
    return TypeAdapter(model)


def read_document(path: Path, model: type[Model], kind: str) -> Model:
    """Read a YAML file as an instance of `model`; InputError with every problem and its line.

    `kind` says what the file is: "a description of a data set"."""
    file = YamlFile.read(path)
    checked: Model | None = file.checked(model, file.expect_mapping(kind))
    file.stop()
    assert checked is not None
    return checked


def read_yaml(path: Path, *, any_yaml: bool = False) -> tuple[Any, dict[Place, int]]:
    """Plain data and lines of a YAML file. InputError with the line for bad syntax, keys given
    twice and, unless `any_yaml` (a file that other programs read too), traps of YAML 1.1."""
    data, lines, traps = read_lines(path)
    if traps and not any_yaml:
        raise InputError(*(f"{path}:{line}: {trap}" for line, trap in traps))
    return data, lines


def nearest_line(lines: Mapping[Place, int], place: Place) -> int:
    """Line of a place, or of the nearest one around it that the file has; 1 without any."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)
