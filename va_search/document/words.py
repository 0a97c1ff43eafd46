"""What is wrong with a value or key of a document, in one wording for all kinds of files.

pydantic finds the mistakes; its models say what is expected. A field's `description`, where it has
one, is what its value is expected to be: "feature sets, such as features: all".

Conventions: a place is the keys and item numbers from the top of a document to a value; a form is
one of the types that a value may have."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from va_search.errors import nearest_name, unknown_name

Place = tuple[str | int, ...]

SHOWN = 80
"""Letters of a wrong value that a message repeats at most."""

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
}
"""Types in plain words: by Python's name, and by the first word of pydantic's type of error."""

BOUNDS = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of {ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "finite_number": "a finite number",
    "string_too_short": "a text that is not empty",
}
"""Values of the right type and out of range, by pydantic's type of error."""

EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
"""A number that YAML 1.1 takes for a text unless it has a point."""


def dotted(place: Place) -> str:
    """`("settings", "encoder", "choice", 1)` as `settings.encoder.choice[1]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


@dataclass
class _Mismatch:
    """A value that is none of the `forms` its model allows; `expected` says them in words, or the
    range that a value of the right form is outside of."""

    forms: list[Any]
    value: Any
    expected: list[str]
    out_of_range: bool


def explain(
    error: ValidationError, model: Any, also: Collection[str] = ()
) -> list[tuple[Place, str]]:
    """Return places and sentences for everything that pydantic found wrong in data for `model`.

    The forms that a value may have (a union) fail one by one in pydantic; they make one sentence:
    "expected a whole number or 'mean', found 2.5"."""
    sentences: dict[Place, str] = {}
    mismatches: dict[Place, _Mismatch] = {}
    for detail in error.errors(include_url=False):
        kind, location, value = detail["type"], detail["loc"], detail["input"]
        if kind in ("extra_forbidden", "invalid_key"):
            parent, forms, _ = _follow(model, location[:-1])
            sentences[(*parent, location[-1])] = _unknown_key(
                location[-1], forms, () if parent else also
            )
            continue
        place, forms, description = _follow(model, location)
        if kind == "missing":
            sentences[place] = missing(description or _any_of(form_words(forms)))
        elif kind == "value_error":
            sentences[place] = str(detail["ctx"]["error"])
        else:
            words = _expected(detail, forms, description)
            mismatch = mismatches.setdefault(place, _Mismatch(forms, value, [], kind in BOUNDS))
            mismatch.expected += [word for word in words if word not in mismatch.expected]
    for place, mismatch in mismatches.items():
        # A form that was recognised has problems of its own, deeper down: those say more.
        deeper = [other for other in (*sentences, *mismatches) if place == other[: len(place)]]
        if deeper == [place]:
            sentences[place] = _mismatch_sentence(place, mismatch)
    return list(sentences.items())


def reasons(error: ValidationError, model: Any) -> list[str]:
    """Return `explain`'s sentences with their places, for data that no file has."""
    return [
        f"{dotted(place)}: {sentence}" if place else sentence
        for place, sentence in explain(error, model)
    ]


def expected_found(expected: Sequence[str], value: Any) -> str:
    """Say what was expected (one of several), what was found, and what may be meant by it."""
    hint = ""
    if any("number" in words for words in expected):
        hint = number_hint(value)
    elif WORDS["str"] in expected and isinstance(value, bool | int | float):
        hint = "; put it in quotes"
    words = _any_of(expected)
    comma = ";" if "," in words else ","
    return f"expected {words}{comma} found {written(value)}{hint}"


def missing(expected: str = "a value") -> str:
    """Say that a key is missing, and what belongs there."""
    return f"missing; expected {expected}"


def written(value: Any) -> str:
    """A value as YAML has it: null, true and false, and texts in quotes; cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def number_hint(value: Any) -> str:
    """Return what to write where a number is expected and `value` is one that YAML 1.1 takes for a
    text; else ""."""
    if not isinstance(value, str) or not EXPONENT.fullmatch(value):
        return ""
    number = float(value)
    if not math.isfinite(number):
        return ""
    digits, exponent, power = repr(number).partition("e")
    pointed = digits if "." in digits else f"{digits}.0"
    return f" (without a point YAML takes it for a text; write {pointed}{exponent}{power})"


def wrong_name(place: Place, menu: Sequence[Any], value: Any) -> str:
    """Say that a value is not on the menu of its key, with the nearest that is."""
    names = [step for step in place if isinstance(step, str)]
    if names and all(isinstance(name, str) for name in menu):
        return unknown_name(names[-1], value, menu)
    return expected_found([written(name) for name in menu], value) + _near_hint(menu, value)


def _near_hint(menu: Sequence[Any], value: Any) -> str:
    near = nearest_name(str(value), [name for name in menu if isinstance(name, str)])
    return "" if near is None else f"; did you mean {near!r}?"


def _mismatch_sentence(place: Place, mismatch: _Mismatch) -> str:
    """Say what is wrong with a value; of a menu of names the nearest one is given."""
    menu = menu_of(mismatch.forms)
    nullable = type(None) in mismatch.forms
    if menu and len(mismatch.forms) == 1 + nullable:
        return wrong_name(place, menu, mismatch.value)
    expected = mismatch.expected
    if nullable and not mismatch.out_of_range:
        expected = [*expected, "null"]
    return expected_found(expected, mismatch.value) + _near_hint(menu, mismatch.value)


def _expected(detail: Any, forms: list[Any], description: str | None) -> list[str]:
    """Return in words what one of pydantic's errors expected."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return [written(name) for name in menu_of(forms)]
    if kind in BOUNDS:
        return [BOUNDS[kind].format(**context)]
    if description is not None:
        return [description]
    if kind in ("too_short", "too_long"):
        size = WORDS[context["field_type"].lower().removesuffix("ionary")].partition(" (")[0]
        least, most = context.get("min_length"), context.get("max_length")
        return [
            f"{size} of {least} or more" if kind == "too_short" else f"{size} of {most} at most"
        ]
    message = str(detail["msg"])
    message = message.partition("should be ")[2] or message[:1].lower() + message[1:]
    return [WORDS.get(kind.partition("_")[0], message)]


def _unknown_key(key: Any, forms: list[Any], also: Collection[str]) -> str:
    """Say that a key is unknown, with the right one for what people often call it."""
    known: set[str] = set(also)
    meant: str | None = None
    for form in forms:
        if isinstance(form, type) and issubclass(form, BaseModel):
            known |= {field.alias or name for name, field in form.model_fields.items()}
            meant = getattr(form, "SYNONYMS", {}).get(str(key).lower(), meant)
    return unknown_name("key", key, known, meant=meant if meant in known else None)


def _follow(model: Any, location: Sequence[str | int]) -> tuple[Place, list[Any], str | None]:
    """Follow one of pydantic's locations, which also names the forms that it tried.

    Returns the place in the document, the forms that a value may have there, and the
    description of its field."""
    place: list[str | int] = []
    forms, description = forms_of(model), None
    for step in location:
        inner = [_inside(form, step) for form in forms]
        reached = [pair for pair in inner if pair is not None]
        if not reached:  # a form's name, of which the others are left out
            forms = [form for form in forms if getattr(form, "__name__", "") == step] or forms
            continue
        place.append(step)
        forms = [form for annotation, _ in reached for form in forms_of(annotation)]
        description = reached[0][1]
    return tuple(place), forms, description


def _inside(form: Any, step: str | int) -> tuple[Any, str | None] | None:
    """Annotation and description of a key or an item of a form; None where it has no such."""
    arguments = get_args(form)
    origin = get_origin(form) or form
    if isinstance(origin, type) and issubclass(origin, BaseModel):
        for name, field in origin.model_fields.items():
            if step == (field.alias or name):
                return field.annotation, field.description
    elif origin is dict and arguments:
        return arguments[1], None
    elif origin in (list, tuple) and arguments and isinstance(step, int):
        fixed = origin is tuple and Ellipsis not in arguments
        return arguments[min(step, len(arguments) - 1)] if fixed else arguments[0], None
    return None


def forms_of(annotation: Any) -> list[Any]:
    """Return the types that a value may have, one by one: those of a union, without bounds."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return forms_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [form for part in get_args(annotation) for form in forms_of(part)]
    return [annotation]


def menu_of(forms: Sequence[Any]) -> list[Any]:
    """Return the values that the menus (Literal) among these types list."""
    return [name for form in forms if get_origin(form) is Literal for name in get_args(form)]


def form_words(forms: Sequence[Any]) -> list[str]:
    """Return types in plain words: names for a menu, else "a whole number", "a list", …"""
    words: list[str] = []
    for form in forms:
        origin = get_origin(form) or form
        if origin is Literal:
            words += [str(name) for name in get_args(form)]
        elif isinstance(origin, type) and issubclass(origin, BaseModel):
            words.append(WORDS["model"])
        elif isinstance(origin, type) and origin.__name__ in WORDS:
            words.append(WORDS[origin.__name__])
    return words or ["a value"]


def _any_of(words: Sequence[str]) -> str:
    """ "1, 2 or 3"."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
