"""Sentences about wrong values and keys of a document, the same for all kinds of files.

pydantic finds the mistakes; its models say what is expected. A field's `description`, where it has
one, is what its value is expected to be: "feature sets, such as features: all".

Conventions: a place is the keys and item numbers from the top of a document to a value; a form is
one of the types that a value may have."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from va_search.errors import unknown_name

Place = tuple[str | int, ...]

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping (key: value)",
    "Path": "a path",
    "NoneType": "null",
}
"""Types in plain words, by Python's name."""

LIMITS = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of {ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "finite_number": "a finite number",
    "multiple_of": "a multiple of {multiple_of:g}",
    "string_too_short": "a text that is not empty",
    "too_short": "a {field_type} of {min_length} or more",
    "too_long": "a {field_type} of {max_length} at most",
}
"""Expected of values that are of the right type, by pydantic's type of error."""

SIZED = {"List": "list", "Tuple": "list", "Dictionary": "mapping"}
"""Types with a size in plain words, by pydantic's name."""

EXPONENT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")
"""A number that YAML 1.1 takes for a text unless it has a point."""

SHOWN = 80
"""Letters of a wrong value that a message repeats at most."""

LONGEST_LINE = 1_000_000
"""Columns of a line of YAML, so that none is broken."""


def dotted(place: Place) -> str:
    """`("settings", "encoder", "choice", 1)` as `settings.encoder.choice[1]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


def placed(place: Place, sentence: str) -> str:
    """A sentence behind its place; the top of a document has none."""
    return f"{dotted(place)}: {sentence}" if place else sentence


def explain(
    error: ValidationError, model: Any, also: Collection[str] = ()
) -> list[tuple[Place, str]]:
    """Return places and sentences for everything that pydantic found wrong in data for `model`.

    `also` are keys known beside the model's own."""
    sentences: dict[Place, str] = {}
    for detail in error.errors(include_url=False):
        kind, steps, value = detail["type"], detail["loc"], detail["input"]
        if kind in ("extra_forbidden", "invalid_key"):
            parent, forms, _ = _follow(model, steps[:-1])
            more_keys = () if parent else also
            sentences[(*parent, steps[-1])] = _unknown_key(steps[-1], forms, more_keys)
            continue
        location, forms, description = _follow(model, steps)
        if steps[-1:] == ("[key]",):  # pydantic's name for a key, rather than its value
            sentences[location] = expected_found(WORDS["str"], value)
        elif kind == "missing":
            sentences[location] = missing(description or any_of(form_words(forms)))
        elif kind == "value_error":
            sentences[location] = str(detail["ctx"]["error"])
        elif description is None and kind in LIMITS:
            limit = limit_words(kind, **detail.get("ctx", {}))
            sentences[location] = expected_found(limit, value)
        elif kind == "form":
            sentences[location] = expected_found(detail["msg"], value)
        else:
            # Each form that a value may have fails by itself; one sentence names them all.
            sentences.setdefault(location, _wrong_form(location, forms, description, value))

    # Errors of a union come once per form. One that was recognised has problems of its own, deeper down: those say more.
    deepest = []
    for location, sentence in sentences.items():
        inside = [deeper for deeper in sentences if location == deeper[: len(location)]]
        if inside == [location]:
            deepest.append((location, sentence))
    return deepest


def reasons(error: ValidationError, model: Any) -> list[str]:
    """Return `explain`'s sentences with their places, for data that no file has."""
    return [placed(place, sentence) for place, sentence in explain(error, model)]


def expected_found(expected: str, value: Any) -> str:
    """Say what was expected, what was found, and how to write what may be meant."""
    hint = ""
    if "number" in expected:
        hint = number_hint(value)
    elif expected.startswith(WORDS["str"]) and isinstance(value, bool | int | float):
        hint = "; put it in quotes"
    comma = ";" if "," in expected else ","
    return f"expected {expected}{comma} found {written(value)}{hint}"


def limit_words(kind: str, **context: Any) -> str:
    """Say in words which values a limit allows, by pydantic's names for it and its context."""
    field_type = SIZED.get(context.pop("field_type", ""), "list")
    return LIMITS[kind].format(field_type=field_type, **context)


def wrong_name(place: Place, menu: Sequence[Any], value: Any) -> str:
    """Say that a value is not on the menu of its key, with the nearest that is."""
    keys = [step for step in place if isinstance(step, str)]
    if keys and all(isinstance(name, str) for name in menu):
        return unknown_name(keys[-1], value, menu)
    return expected_found(any_of([written(name) for name in menu]), value)


def missing(expected: str = "a value") -> str:
    """Say that a key is missing, and what belongs there."""
    return f"missing; expected {expected}"


def any_of(words: Sequence[str]) -> str:
    """ "1, 2 or 3"."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def written(value: Any) -> str:
    """A value as YAML has it: null, true and false, and texts in quotes; cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}…"
    return text


def flow(value: Any) -> str:
    """Return a value on one line of YAML, as it is read back."""
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=LONGEST_LINE
    )
    return text.removesuffix("\n").removesuffix("\n...")


def number_hint(value: Any) -> str:
    """Return what to write where a number is expected and `value` is one that YAML 1.1 takes for a
    text; else ""."""
    if not isinstance(value, str) or not EXPONENT.fullmatch(value):
        return ""
    number = float(value)
    if not math.isfinite(number):
        return ""
    # Python writes small numbers as 1e-05: YAML takes that for a number once it has a point.
    digits, exponent, power = repr(number).partition("e")
    pointed = digits if "." in digits else f"{digits}.0"
    return f" (without a point YAML takes it for a text; write {pointed}{exponent}{power})"


def forms_of(annotation: Any) -> list[Any]:
    """Return the types that a value may have, one by one: those of a union, without bounds."""
    if get_origin(annotation) is Annotated:
        return forms_of(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    forms: list[Any] = []
    for form in get_args(annotation):
        forms += forms_of(form)
    return forms


def form_words(forms: Sequence[Any]) -> list[str]:
    """Return types in plain words: the names of a menu (Literal), "a whole number", "a list", …"""
    words: list[str] = []
    for form in forms:
        origin = get_origin(form) or form
        if origin is Literal:
            words += [written(name) for name in get_args(form)]
        elif _is_model(origin):
            words.append(WORDS["dict"])
        else:
            words.append(WORDS.get(getattr(origin, "__name__", ""), "a value"))
    return words


def _is_model(form: Any) -> bool:
    return isinstance(form, type) and issubclass(form, BaseModel)


def _wrong_form(place: Place, forms: Sequence[Any], description: str | None, value: Any) -> str:
    """Say which forms a value may have that has none of them."""
    menus = [form for form in forms if get_origin(form) is Literal]
    free = [form for form in forms if form not in menus and form is not types.NoneType]
    if menus and not free:
        return wrong_name(place, get_args(menus[0]), value)
    return expected_found(description or any_of(form_words(forms)), value)


def _unknown_key(key: Any, forms: Sequence[Any], also: Collection[str]) -> str:
    """Say that a key is unknown, with the right one for what people often call it."""
    keys = set(also)
    meant: str | None = None
    for form in forms:
        if _is_model(form):
            keys.update(field.alias or name for name, field in form.model_fields.items())
            meant = getattr(form, "SYNONYMS", {}).get(str(key).lower(), meant)
    return unknown_name("key", key, keys, meant=meant if meant in keys else None)


def _follow(model: Any, steps: Sequence[str | int]) -> tuple[Place, list[Any], str | None]:
    """Follow one of pydantic's locations, which also names the forms that it tried.

    Returns the place in the document, the forms that a value may have there, and the
    description of its field."""
    location: Place = ()
    forms, description = forms_of(model), None
    for step in steps:
        inner = [pair for form in forms for pair in _inside(form, step)]
        if not inner:
            # The name of a form, which was tried alone.
            forms = [form for form in forms if getattr(form, "__name__", "") == step] or forms
            continue
        location = (*location, step)
        forms = []
        for annotation, description in inner:  # noqa: B007 (the last one's)
            forms += forms_of(annotation)
    return location, forms, description


def _inside(form: Any, step: str | int) -> list[tuple[Any, str | None]]:
    """Annotation and description of a key or an item of a form, in a list; none where it has no
    such."""
    arguments, origin = get_args(form), get_origin(form)
    if _is_model(form):
        for name, field in form.model_fields.items():
            if step == (field.alias or name):
                return [(field.annotation, field.description)]
    elif origin is dict:
        return [(arguments[1], None)]
    elif origin in (list, tuple) and isinstance(step, int):
        fixed = origin is tuple and Ellipsis not in arguments
        return [(arguments[step if fixed else 0], None)]
    return []
