"""How a search space says which feature sets a trial reads.

    features: all                                  every feature set of the store
    features: [hubert, vggish]                     exactly these
    features: {choice: [[hubert], [hubert, fau], all]}
    features: {subset: all, min: 1, max: 4}        any 1 to 4 of the store's
    features: {subset: [hubert, fau, vggish], max: 2}
    features:                                      so many per modality
      subset:
        visual: {of: all, min: 1, max: 2}
        audio: [hubert, vggish]
      max: 3                                       and so many in all

`min` is 0 per modality and 1 in all where it is left out; `max` is all there are. `max` may be more
than `all` has, so that one space fits many stores."""

from __future__ import annotations

from typing import Any

from va_search.data.store import Store
from va_search.errors import unknown_name
from va_search.search.declaration import read_choice, read_form
from va_search.search.domains import Domain
from va_search.search.problems import Place, Problems
from va_search.search.subsets import Group, Subset

ALL = "all"
FORMS: dict[str, tuple[str, ...]] = {"choice": (), "subset": ("min", "max"), "value": ()}


def read_features(declared: Any, store: Store, at: Place, problems: Problems) -> Domain | None:
    """The domain declared for `features`, checked against the store; None when there was a
    problem."""
    if not isinstance(declared, dict):
        return read_choice([declared], at, problems, lambda raw: _sets(raw, store), numbered=False)
    form = read_form(declared, FORMS, at, problems)
    if form is None:
        return None
    if "when" in declared:
        problems.add((*at, "when"), "features are always in play and take no `when`")
    if form == "subset":
        return _subset(declared, store, at, problems)
    options = declared[form] if form == "choice" else [declared[form]]
    return read_choice(
        options, (*at, form), problems, lambda raw: _sets(raw, store), numbered=form == "choice"
    )


def _sets(raw: Any, store: Store) -> list[str]:
    """Feature sets named by a list, one name, or `all`; sorted. ValueError for unknown or repeated
    ones."""
    if raw == ALL:
        return sorted(store.feature_sets)
    names = [raw] if isinstance(raw, str) else raw
    if not isinstance(names, list) or not names:
        raise ValueError(f"expected names of feature sets, or all; found {raw!r}")
    unknown = [
        unknown_name("feature set", name, store.feature_sets)
        for name in names
        if name not in _known(store)
    ]
    if unknown:
        raise ValueError("; ".join(unknown))
    if len(set(names)) < len(names):
        raise ValueError(f"a feature set stands twice in {names}; keep one")
    return sorted(names)


def _known(store: Store) -> list[Any]:
    return list(store.feature_sets)


def _subset(declared: dict[str, Any], store: Store, at: Place, problems: Problems) -> Subset | None:
    before = len(problems.found)
    inner = declared["subset"]
    place = (*at, "subset")
    if isinstance(inner, dict):
        found = [
            _modality_group(name, value, store, (*place, name), problems)
            for name, value in inner.items()
        ]
        groups = tuple(group for group in found if group is not None)
        if not inner:
            problems.add(place, "expected one modality or more, found none")
    else:
        group = _group("", {"of": inner}, store, place, problems)
        groups = (group,) if group else ()
    total = sum(group.high for group in groups)
    capped = isinstance(inner, dict) or inner == ALL
    low, high = _bounds(declared, max(total, 1), at, problems, low=1, capped=capped)
    if len(problems.found) > before:
        return None
    if not isinstance(inner, dict):
        groups = (Group("", groups[0].names, low, high),)
    if sum(group.low for group in groups) > high or total < low:
        problems.add(at, f"no subset fits: the modalities allow {sum(g.low for g in groups)} to {total} feature sets, "
                         f"`min` and `max` {low} to {high}")  # fmt: skip
        return None
    return Subset(groups, low, high)


def _modality_group(
    modality: Any, value: Any, store: Store, at: Place, problems: Problems
) -> Group | None:
    modalities = {feature_set.modality for feature_set in store.feature_sets.values()}
    if modality not in modalities:
        problems.add(at, unknown_name("modality", modality, modalities))
        return None
    declared = value if isinstance(value, dict) else {"of": value}
    unknown = [key for key in declared if key not in ("of", "min", "max")]
    for key in unknown:
        problems.add((*at, key), unknown_name("key", key, ("of", "min", "max")))
    return None if unknown else _group(modality, declared, store, at, problems)


def _group(
    modality: str, declared: dict[str, Any], store: Store, at: Place, problems: Problems
) -> Group | None:
    of = declared.get("of", ALL)
    members = sorted(
        name for name, each in store.feature_sets.items() if modality in ("", each.modality)
    )
    try:
        names = members if of == ALL else _sets(of, store)
    except ValueError as error:
        problems.add(at, str(error))
        return None
    strangers = [name for name in names if name not in members]
    if strangers:
        problems.add(
            at,
            f"not of modality {modality!r}: {', '.join(strangers)} (it has: {', '.join(members)})",
        )
        return None
    low, high = _bounds(declared, len(names), at, problems, low=0, capped=of == ALL)
    return Group(modality, tuple(names), low, high)


def _bounds(
    declared: dict[str, Any], there: int, at: Place, problems: Problems, *, low: int, capped: bool
) -> tuple[int, int]:
    """`min` and `max` of `there` feature sets; a larger `max` is cut to it where `capped`, a
    problem elsewhere."""
    least, most = declared.get("min", low), declared.get("max", there)
    for key, value in (("min", least), ("max", most)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            problems.add((*at, key), f"expected a whole number of 0 or more, found {value!r}")
            return 0, there
    if most > there and not capped:
        problems.add(
            (*at, "max"),
            f"`max` can't be more than the feature sets there are, but got (max={most}, {there})",
        )
    if least > there:
        problems.add(
            (*at, "min"),
            f"`min` can't be more than the feature sets there are, but got (min={least}, {there})",
        )
    if least > most:
        problems.add((*at, "min"), f"`min <= max` must hold, but got (min={least}, max={most})")
    if low == 1 and 0 in (least, most):
        problems.add(
            at, f"a trial needs at least one feature set, but got (min={least}, max={most})"
        )
    return (max(least, low), min(most, there))
