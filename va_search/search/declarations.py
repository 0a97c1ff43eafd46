"""Declarations of the settings of a search space.

    features: all              forms of their own: features.py
    epochs: 20                                  fixed
    encoder: {choice: [gru, transformer]}       one of several
    layers: {int: [1, 3], step: 1, log: false}  whole numbers, both ends included
    learning_rate: {float: [1e-4, 3e-3], log: true}
    hidden_size: {value: 64, when: {encoder: [lstm, gru]}}    fixed, and only for some encoders
    loss_weights: {liking: {choice: [0.5, 1]}}  of targets beside valence and arousal, each as above

A choice or a range may have a prior, with a strength: priors.py. `when` goes with every form: the
setting is in play only when each setting named there is in play and has one of the values given;
otherwise it takes its default."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Annotated, Any, Union, get_origin

from pydantic import Discriminator, Field, Tag
from pydantic.fields import FieldInfo

from va_search.document import StrictModel, YamlFile
from va_search.document.words import (
    WORDS,
    Place,
    any_of,
    expected_found,
    form_words,
    forms_of,
)
from va_search.errors import unknown_name
from va_search.search.domains import Choice, Domain, FloatRange, IntRange, same
from va_search.search.priors import Prior, Strength
from va_search.search.space_header import Count
from va_search.trial_settings import WEIGHTS, TrialSettings, setting_field

ELSEWHERE = {"seed": "seeds", "fold": "folds"}
"""Settings of a trial that a space gives at its top level, and under which name."""

KNOWN = sorted({*TrialSettings.model_fields, WEIGHTS} - set(ELSEWHERE))
"""The settings a space may name."""


class Form(StrictModel):
    """A declaration of a setting; `when` is read with all settings at hand."""

    when: Any = None


class ValueForm(Form):
    """A fixed value."""

    value: Any


class BelievedForm(Form):
    """A declaration that may have a prior, which is read once its domain is known."""

    prior: Any = None
    strength: Strength | None = None


class ChoiceForm(BelievedForm):
    """One of several values."""

    choice: Annotated[list[Any], Field(min_length=1)]


Ends = Annotated[list[Any], Field(min_length=2, max_length=2, description="[low, high]")]


class IntForm(BelievedForm):
    """Whole numbers from low to high, both included."""

    ends: Annotated[Ends, Field(alias="int")]
    step: Count = 1
    log: bool = False


class FloatForm(BelievedForm):
    """Numbers from low to high."""

    ends: Annotated[Ends, Field(alias="float")]
    log: bool = False


def told_by_key(forms: Mapping[str, type[Form]]) -> Any:
    """Return the type of declarations that have one of these forms, each told by its one key."""

    def tag(declared: Mapping[str, Any]) -> str | None:
        keys = forms.keys() & declared.keys()
        if len(keys) != 1:
            return None
        return forms[keys.pop()].__name__

    tagged = tuple(Annotated[form, Tag(form.__name__)] for form in forms.values())
    expected = f"a plain value or one of {', '.join(forms)}"
    discriminator = Discriminator(tag, custom_error_type="form", custom_error_message=expected)
    return Annotated[Union[tagged], discriminator]  # noqa: UP007 (made of a tuple)


SETTING = told_by_key(
    {"choice": ChoiceForm, "int": IntForm, "float": FloatForm, "value": ValueForm}
)


@dataclass(frozen=True)
class Setting:
    """Values that a setting may take, and when it is in play: by the name of another setting, the
    values that must have. `prior`: the value that the user believes in."""

    domain: Domain
    when: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    prior: Prior | None = None

    def values(self) -> Iterator[Any]:
        """All values in grid order; for an infinite domain its two ends."""
        return self.domain.values() if self.prior is None else self.prior.outwards(self.domain)

    def draw_by_prior(self, generator: Random) -> Any:
        """One of the values, drawn by the prior where there is one."""
        if self.prior is None:
            return self.domain.draw(generator)
        return self.prior.draw(self.domain, generator)


def read_domain(name: str, declared: Any, place: Place, file: YamlFile) -> Domain | None:
    """The domain declared for setting `name`; None when there are problems, which then are
    noted."""
    read = partial(read_value, name, file=file)
    if not isinstance(declared, dict):
        return read_choice({place: declared}, read, file)
    form: Form | None = file.checked(SETTING, declared, place)
    if isinstance(form, ValueForm):
        return read_choice({(*place, "value"): form.value}, read, file)
    if isinstance(form, ChoiceForm):
        return read_choice(items((*place, "choice"), form.choice), read, file)
    if isinstance(form, IntForm | FloatForm):
        return _range(name, form, place, file)
    return None


def items(place: Place, values: Sequence[Any]) -> dict[Place, Any]:
    """The items of a list by their places."""
    return {(*place, index): value for index, value in enumerate(values)}


def read_choice(
    options: Mapping[Place, Any], read: Callable[[Any, Place], list[Any]], file: YamlFile
) -> Choice | None:
    """A choice of options, each at its place, which `read` takes and returns as values (none for a
    wrong one). Repeated options are a problem; None for any."""
    values: list[Any] = []
    noted = len(file.problems)
    for location, option in options.items():
        for value in read(option, location):
            if any(same(value, earlier) for earlier in values):
                file.problem(location, f"{option!r} is given twice; keep one")
            values.append(value)
    return Choice(tuple(values)) if len(file.problems) == noted else None


def read_value(name: str, raw: Any, place: Place, *, file: YamlFile) -> list[Any]:
    """The value `raw` of setting `name` as plain data, in a list; none when it is wrong, which then
    is noted.

    Texts such as "1e-4", which YAML 1.1 does not take for numbers, count as numbers where one is
    due."""
    forms = setting_forms(name)
    sentence = _wrong_kind(forms, raw)
    if sentence is not None:
        file.problem(place, sentence)
        return []

    # Checked as the one entry of a mapping, so that messages know the setting's name.
    checked: dict[str, Any] | None = file.checked(
        _by_name(name), {name: raw}, lambda inner: (*place, *inner[1:])
    )
    if checked is None:
        return []
    value = checked[name]
    if isinstance(value, float) and not math.isfinite(value):
        file.problem(place, expected_found("a finite number", raw))
        return []
    return [list(value) if isinstance(value, tuple) else value]


def _wrong_kind(forms: Sequence[Any], raw: Any) -> str | None:
    """Say what is wrong with a list for one value, and with true or false for a number, all of
    which pydantic would take or not explain."""
    if isinstance(raw, list) and not any(get_origin(form) is tuple for form in forms):
        return f"expected one value, found the list {raw}; to vary it write {{choice: {raw}}}"
    # To Python true is 1: pydantic would take it for a number.
    numbers = int in forms or float in forms
    if (isinstance(raw, bool) and numbers) or (bool in forms and not isinstance(raw, bool)):
        return expected_found(any_of(form_words(forms)), raw)
    return None


@cache
def setting_forms(name: str) -> tuple[Any, ...]:
    """Types of a setting's values: int, float, bool, NoneType, menus and tuples as declared."""
    return tuple(forms_of(_field(name).annotation))


def _field(name: str) -> FieldInfo:
    field = setting_field(name)
    assert field is not None, name
    return field


@cache
def _by_name(name: str) -> Any:
    """The type of a mapping of names to values of a setting, with its bounds."""
    setting = _field(name)
    annotation: Any = setting.annotation
    if setting.metadata:
        annotation = Annotated[(annotation, *setting.metadata)]
    return dict[str, annotation]


def _range(name: str, form: IntForm | FloatForm, place: Place, file: YamlFile) -> Domain | None:
    """The range of numbers that a form declares; None when there are problems."""
    noted = len(file.problems)
    key, kind = ("int", int) if isinstance(form, IntForm) else ("float", float)
    forms = setting_forms(name)
    if kind not in forms:
        file.problem((*place, key), f"`{name}` takes no range of {key}; its kind: {_kinds(forms)}")
        return None

    # An end is a value of the setting like any other, but for null.
    ends: list[Any] = []
    for index, end in enumerate(form.ends):
        if end is None:
            file.problem((*place, key, index), expected_found(WORDS[key], end))
        else:
            ends += read_value(name, end, (*place, key, index), file=file)
    if len(file.problems) > noted:
        return None

    # Both ends are right; are they right together?
    low, high = ends
    step = form.step if isinstance(form, IntForm) else 1
    if low > high:
        sentence = f"`low <= high` must hold, but got (low={low}, high={high})"
        file.problem((*place, key), sentence)
    if form.log and low <= 0:
        sentence = f"`low > 0` must hold where log is true, but got (low={low})"
        file.problem((*place, key), sentence)
    if form.log and step != 1:
        file.problem((*place, "step"), f"`step` can't go with log: true, but got (step={step})")
    if len(file.problems) > noted:
        return None
    if isinstance(form, IntForm):
        return IntRange(low, high, step, form.log)
    return FloatRange(float(low), float(high), form.log)


def _kinds(forms: Sequence[Any]) -> str:
    """The kinds of a setting's values, in plain words."""
    words = {int: "whole numbers", float: "numbers", bool: "true or false", type(None): "null"}
    kinds = set()
    for form in forms:
        kinds.add("lists" if get_origin(form) is tuple else words.get(form, "names"))
    return " or ".join(sorted(kinds))


def read_when(
    declared: Any, domains: Mapping[str, Domain | None], place: Place, file: YamlFile
) -> dict[str, tuple[Any, ...]]:
    """The condition of a setting: by the name of another setting, the values that it must have, of
    those it can have in this space."""
    if not isinstance(declared, dict) or not declared:
        expected = "settings and their values, such as {encoder: [gru, lstm]}"
        file.problem(place, expected_found(expected, declared))
        return {}
    condition: dict[str, tuple[Any, ...]] = {}
    for name, values in declared.items():
        value_place = (*place, name)
        if name not in domains:
            file.problem(value_place, unknown_name("setting of this space", name, domains))
            continue
        domain = domains[name]
        if name == "features" or isinstance(domain, FloatRange):
            sentence = f"a condition needs a setting with separate values; `{name}` has none"
            file.problem(value_place, sentence)
        elif domain is not None:
            if values == []:
                file.problem(value_place, expected_found("a list of 1 or more", values))
                continue
            options = {value_place: values}
            if isinstance(values, list):
                options = items(value_place, values)
            read = partial(_read_possible, name, domain, file)
            choice = read_choice(options, read, file)
            if choice is not None:
                condition[name] = choice.options
    return condition


def read_prior(
    name: str, declared: Any, domain: Domain, place: Place, file: YamlFile
) -> Prior | None:
    """The prior of a setting, read from its declaration; None without one, or for a wrong one, which
    then is noted."""
    if not isinstance(declared, dict) or not {"prior", "strength"} & declared.keys():
        return None
    if name == "features":
        file.problem(place, "`features` takes no prior")
        return None
    if declared.get("prior") is None:
        file.problem((*place, "strength"), "`strength` is that of a `prior`, which is missing")
        return None
    values = read_value(name, declared["prior"], (*place, "prior"), file=file)
    if not values:
        return None
    if not domain.contains(values[0]):
        sentence = (
            f"`{name}` never is {declared['prior']!r} in this space; a prior is one of its values"
        )
        file.problem((*place, "prior"), sentence)
        return None
    return Prior(values[0], declared.get("strength") or "medium")


def _read_possible(name: str, domain: Domain, file: YamlFile, raw: Any, place: Place) -> list[Any]:
    """As `read_value`, of the values that a setting can have in this space."""
    values = read_value(name, raw, place, file=file)
    if values and not domain.contains(values[0]):
        file.problem(
            place,
            f"`{name}` never is {raw!r} in this space, so the condition would exclude everything",
        )
        return []
    return values
