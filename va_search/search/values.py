"""Is this value allowed for that setting? Asked of the fields of `TrialSettings`, answered in plain
words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from va_search.errors import unknown_name
from va_search.search.problems import as_written, plain
from va_search.training.settings import TrialSettings, setting_field

ELSEWHERE = {"seed": "seeds", "fold": "folds"}
"""Settings of a trial that a space gives at its top level, and under which name."""

KNOWN = sorted(set(TrialSettings.model_fields) - set(ELSEWHERE))
"""The settings a space may name."""


def checked_value(name: str, raw: Any) -> Any:
    """`raw` as a value of setting `name`, as plain data; ValueError says what was expected.

    Texts such as "1e-4" (which YAML 1.1 does not take for numbers) count as numbers where one is
    due."""
    kinds = value_kinds(name)
    if isinstance(raw, list) and tuple not in kinds:
        raise ValueError(
            f"expected one value, found the list {raw}; to vary it write {{choice: {raw}}}"
        )
    if (menu := [item for kind in kinds for item in kind_menu(kind)]) and raw not in menu:
        raise ValueError(unknown_name(name, raw, menu))
    if bool in kinds and not isinstance(raw, bool):
        raise ValueError(f"expected true or false, found {as_written(raw)}")
    if isinstance(raw, bool) and bool not in kinds:
        raise ValueError(f"expected a number, found {str(raw).lower()}")
    try:
        value = _adapter(name).validate_python(raw)
    except ValidationError as error:
        alternative = ", or null" if type(None) in kinds else ""
        raise ValueError(plain(error.errors()[0]) + alternative) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {raw!r}")
    return list(value) if isinstance(value, tuple) else value


def _field(name: str) -> FieldInfo:
    field = setting_field(name)
    assert field is not None, name
    return field


@cache
def value_kinds(name: str) -> frozenset[Any]:
    """What a setting's values are: int, float, bool, tuple, NoneType, and Literal menus as they are
    declared."""
    return frozenset(_kinds(_field(name).annotation))


def kind_menu(kind: Any) -> tuple[str, ...]:
    """The names of a Literal menu; none for any other kind."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin is Literal or origin is None:
        yield annotation
    elif origin is tuple:
        yield tuple
    else:
        for part in get_args(annotation):
            yield from _kinds(part)


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    field = _field(name)
    annotation: Any = (
        Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    )
    return TypeAdapter(annotation)
