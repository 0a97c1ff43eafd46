"""How a search space says what one setting may be.

    epochs: 20                                  fixed
    encoder: {choice: [gru, transformer]}       one of several
    layers: {int: [1, 3], step: 1, log: false}  whole numbers, both ends included
    learning_rate: {float: [1e-4, 3e-3], log: true}
    hidden_size: {value: 64, when: {encoder: [lstm, gru]}}    fixed, and only for some encoders

`when` goes with every form: the setting is in play only when each setting named there is in play
and has one of the values given; otherwise it takes its default. Features have forms of their own:
features.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from va_search.errors import unknown_name
from va_search.search.domains import Choice, Domain, FloatRange, IntRange, same
from va_search.search.problems import Place, Problems
from va_search.search.values import checked_value, value_kinds

FORMS: dict[str, tuple[str, ...]] = {
    "choice": (),
    "int": ("step", "log"),
    "float": ("log",),
    "value": (),
}
"""The forms of a declaration, and the options each takes beside `when`."""


@dataclass(frozen=True)
class Setting:
    """What a setting may be, and when it is in play: by the name of another setting, the values
    that must have."""

    domain: Domain
    when: dict[str, tuple[Any, ...]] = field(default_factory=dict)


def read_domain(name: str, declared: Any, at: Place, problems: Problems) -> Domain | None:
    """The domain declared for setting `name`; None when there was a problem, which then is
    recorded."""
    if not isinstance(declared, dict):
        return read_choice([declared], at, problems, partial(checked_value, name), numbered=False)
    form = read_form(declared, FORMS, at, problems)
    if form is None:
        return None
    if form == "value":
        raw = [declared["value"]]
        return read_choice(raw, (*at, form), problems, partial(checked_value, name), numbered=False)
    if form == "choice":
        return read_choice(declared[form], (*at, form), problems, partial(checked_value, name))
    return _range(name, form, declared, at, problems)


def read_form(
    declared: dict[str, Any], forms: dict[str, tuple[str, ...]], at: Place, problems: Problems
) -> str | None:
    """Which one of `forms` a declaration has; None when it has none, several, or keys that don't go
    with it."""
    present = [form for form in forms if form in declared]
    if len(present) != 1:
        found = ", ".join(map(str, declared)) or "nothing"
        problems.add(at, f"expected a plain value or one of {', '.join(forms)}; found {found}")
        return None
    known = [present[0], *forms[present[0]], "when"]
    unknown = [key for key in declared if key not in known]
    for key in unknown:
        problems.add((*at, key), unknown_name("key", key, known))
    return None if unknown else present[0]


def read_choice(
    options: Any,
    at: Place,
    problems: Problems,
    check: Callable[[Any], Any],
    *,
    numbered: bool = True,
) -> Choice | None:
    """A choice of the options that pass `check` (which raises ValueError); repeated options are a
    problem."""
    if not isinstance(options, list) or not options:
        problems.add(at, f"expected a list of one value or more, found {options!r}")
        return None
    values: list[Any] = []
    for index, raw in enumerate(options):
        place = (*at, index) if numbered else at
        try:
            value = check(raw)
        except ValueError as error:
            problems.add(place, str(error))
            continue
        if any(same(value, other) for other in values):
            problems.add(place, f"{raw!r} stands twice; keep one")
        values.append(value)
    return Choice(tuple(values)) if len(values) == len(options) else None


def _range(
    name: str, form: str, declared: dict[str, Any], at: Place, problems: Problems
) -> Domain | None:
    ends = declared[form]
    before = len(problems.found)
    if not isinstance(ends, list) or len(ends) != 2:
        problems.add((*at, form), f"expected [low, high], found {ends!r}")
        return None
    kind = int if form == "int" else float
    if kind not in value_kinds(name):
        problems.add(
            (*at, form), f"`{name}` takes no range of {form}; its kind: {_kind_names(name)}"
        )
        return None
    low, high = (_end(name, end, (*at, form, index), problems) for index, end in enumerate(ends))
    log, step = declared.get("log", False), declared.get("step", 1)
    if not isinstance(log, bool):
        problems.add((*at, "log"), f"expected true or false, found {log!r}")
    if isinstance(step, bool) or not isinstance(step, int) or step < 1:
        problems.add((*at, "step"), f"expected a whole number of 1 or more, found {step!r}")
    if len(problems.found) > before:
        return None
    if low > high:
        problems.add((*at, form), f"`low <= high` must hold, but got (low={low}, high={high})")
    if log and low <= 0:
        problems.add((*at, form), f"`low > 0` must hold where log is true, but got (low={low})")
    if log and step != 1:
        problems.add((*at, "step"), f"`step` can't go with log: true, but got (step={step})")
    if len(problems.found) > before:
        return None
    return (
        IntRange(low, high, step, log)
        if form == "int"
        else FloatRange(float(low), float(high), log)
    )


def _end(name: str, raw: Any, at: Place, problems: Problems) -> Any:
    try:
        value = checked_value(name, raw)
    except ValueError as error:
        problems.add(at, str(error))
        return None
    if value is None:
        problems.add(at, "expected a number, found null")
    return value


def _kind_names(name: str) -> str:
    words = {
        int: "whole numbers",
        float: "numbers",
        bool: "true or false",
        tuple: "lists",
        type(None): "null",
    }
    return " or ".join(sorted(words.get(kind, "names") for kind in value_kinds(name)))


def read_when(
    declared: Any, domains: dict[str, Domain | None], at: Place, problems: Problems
) -> dict[str, Any]:
    """The condition of a setting: other settings' names to tuples of values each of them can have
    in this space."""
    if not isinstance(declared, dict) or not declared:
        problems.add(
            at,
            f"expected settings and their values, such as {{encoder: [gru, lstm]}}; found {declared!r}",
        )
        return {}
    condition: dict[str, Any] = {}
    for name, raw in declared.items():
        place = (*at, name)
        if name not in domains:
            problems.add(place, unknown_name("setting of this space", name, domains))
        elif name == "features" or isinstance(domains[name], FloatRange):
            problems.add(
                place, f"a condition needs a setting with separate values; `{name}` has none"
            )
        elif domains[name] is not None:
            several = isinstance(raw, list)
            check = partial(_possible, name, domains[name])
            found = read_choice(raw if several else [raw], place, problems, check, numbered=several)
            condition[name] = () if found is None else found.options
    return condition


def _possible(name: str, domain: Domain | None, raw: Any) -> Any:
    value = checked_value(name, raw)
    if domain is not None and not domain.contains(value):
        raise ValueError(
            f"`{name}` never is {raw!r} in this space, so the condition would exclude everything"
        )
    return value
