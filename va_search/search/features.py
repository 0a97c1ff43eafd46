"""Declarations of the feature sets that a trial reads.

    features: all                                  every feature set of the store
    features: [hubert, vggish]                     exactly these
    features: {choice: [[hubert], [hubert, fau], all]}
    features: {subset: all, min: 1, max: 4}        any 1 to 4 of the store's
    features: {subset: all, min: 0.75}             at least three quarters of the store's
    features: {subset: [hubert, fau, vggish], max: 2}
    features:                                      so many per modality
      subset:
        visual: {of: all, min: 1, max: 2}
        audio: [hubert, vggish]
      max: 3                                       and so many in all

`min` is 0 per modality and 1 in all where it is left out; `max` is all there are. `max` may be more
than `all` has, and a `min` below 1 is a share of them, rounded up, so that one space fits many stores."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from va_search.data.store import Store
from va_search.document import StrictModel, YamlFile
from va_search.document.words import Place, expected_found
from va_search.errors import unknown_name
from va_search.search.declarations import (
    ChoiceForm,
    Form,
    ValueForm,
    items,
    read_choice,
    told_by_key,
)
from va_search.search.domains import Domain, FeatureGroup, Subset
from va_search.trial import ALL

Size = Annotated[int, Field(ge=0)]
Fewest = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number, or below 1 a share."""


class SubsetForm(Form):
    """A subset of some feature sets, or of those of each modality; `subset` is read with the
    store."""

    subset: Any
    min: Fewest | None = None
    max: Size | None = None


class ModalityForm(StrictModel):
    """So many feature sets of one modality."""

    of: Any = ALL
    min: Fewest | None = None
    max: Size | None = None


FEATURES = told_by_key({"choice": ChoiceForm, "subset": SubsetForm, "value": ValueForm})


def read_features(declared: Any, store: Store, place: Place, file: YamlFile) -> Domain | None:
    """The domain declared for `features`, checked against the store; None when there are problems,
    which then are noted."""
    reader = _FeaturesReader(store, file)
    if not isinstance(declared, dict):
        return read_choice({place: declared}, reader.sets, file)
    form: Form | None = file.checked(FEATURES, declared, place)
    if form is None:
        return None
    if form.when is not None:
        file.problem((*place, "when"), "features are always in play and take no `when`")
    if isinstance(form, SubsetForm):
        return reader.subset(form, place)
    if isinstance(form, ChoiceForm):
        return read_choice(items((*place, "choice"), form.choice), reader.sets, file)
    return read_choice({(*place, "value"): declared["value"]}, reader.sets, file)


class _FeaturesReader:
    """Reads feature sets of a store; problems are noted in the file."""

    def __init__(self, store: Store, file: YamlFile) -> None:
        self.store = store
        self.file = file

    def sets(self, raw: Any, place: Place) -> list[list[str]]:
        """Feature sets named by a list, one name, or `all`, sorted, in a list; none when they are
        unknown or repeated, which then is noted."""
        if raw == ALL:
            return [sorted(self.store.feature_sets)]
        names = [raw] if isinstance(raw, str) else raw
        if not isinstance(names, list) or not names:
            sentence = expected_found("names of feature sets, or all", raw)
            self.file.problem(place, sentence)
            return []
        menu = list(self.store.feature_sets)  # a list: a name may be anything, even a mapping
        unknown = [name for name in names if name not in menu]
        for name in unknown:
            self.file.problem(place, unknown_name("feature set", name, menu))
        if unknown:
            return []
        if len(set(names)) < len(names):
            sentence = f"a feature set is given twice in {names}; keep one"
            self.file.problem(place, sentence)
            return []
        return [sorted(names)]

    def subset(self, form: SubsetForm, place: Place) -> Subset | None:
        """The subset of a form; None when there are problems."""
        noted = len(self.file.problems)
        inner = (*place, "subset")
        by_modality = isinstance(form.subset, dict)
        groups: list[FeatureGroup] = []
        if by_modality:
            for modality, declared in form.subset.items():
                groups += self._modality(modality, declared, (*inner, modality))
            if not form.subset:
                sentence = expected_found("one modality or more", form.subset)
                self.file.problem(inner, sentence)
        else:
            groups = self._group("", ModalityForm(of=form.subset), inner)

        # `min` and `max` in all are measured against what the groups allow together.
        total = sum(group.high for group in groups)
        capped = by_modality or form.subset == ALL
        low, high = self._bounds(form, max(total, 1), place, low=1, capped=capped)
        if len(self.file.problems) > noted:
            return None
        if not by_modality:
            groups = [FeatureGroup("", groups[0].names, low, high)]
        fewest = sum(group.low for group in groups)
        if fewest > high or total < low:
            self.file.problem(
                place,
                f"no subset fits: the modalities allow {fewest} to {total} feature sets, `min` and `max` {low} "
                f"to {high}",
            )
            return None
        return Subset(tuple(groups), low, high)

    def _modality(self, modality: Any, declared: Any, place: Place) -> list[FeatureGroup]:
        """The group of a modality, in a list; none when there are problems."""
        modalities = {feature_set.modality for feature_set in self.store.feature_sets.values()}
        if modality not in modalities:
            self.file.problem(place, unknown_name("modality", modality, modalities))
            return []
        if not isinstance(declared, dict):
            return self._group(modality, ModalityForm(of=declared), place)
        form: ModalityForm | None = self.file.checked(ModalityForm, declared, place)
        return [] if form is None else self._group(modality, form, place)

    def _group(self, modality: str, form: ModalityForm, place: Place) -> list[FeatureGroup]:
        members = [
            name
            for name, feature_set in sorted(self.store.feature_sets.items())
            if modality in ("", feature_set.modality)
        ]
        names = members
        if form.of != ALL:
            sets = self.sets(form.of, place)
            if not sets:
                return []
            names = sets[0]
        strangers = [name for name in names if name not in members]
        if strangers:
            sentence = f"not of modality {modality!r}: {', '.join(strangers)} (it has: {', '.join(members)})"
            self.file.problem(place, sentence)
            return []
        low, high = self._bounds(form, len(names), place, low=0, capped=form.of == ALL)
        return [FeatureGroup(modality, tuple(names), low, high)]

    def _bounds(
        self, form: SubsetForm | ModalityForm, number: int, place: Place, *, low: int, capped: bool
    ) -> tuple[int, int]:
        """`min` and `max` of `number` feature sets; a larger `max` is cut to it where `capped`, a
        problem elsewhere."""
        # "all" is another number on another store, so a larger `max` is no mistake there.
        least = low if form.min is None else math.ceil(form.min)
        if form.min is not None and form.min < 1:
            least = math.ceil(form.min * number)
        elif form.min is not None and form.min != least:
            sentence = expected_found("a whole number, or a share below 1", form.min)
            self.file.problem((*place, "min"), sentence)
        most = number if form.max is None else form.max
        too_many = "can't be more than the feature sets there are, but got"
        if most > number and not capped:
            self.file.problem((*place, "max"), f"`max` {too_many} (max={most}, {number})")
        if least > number:
            self.file.problem((*place, "min"), f"`min` {too_many} (min={least}, {number})")
        if least > most:
            sentence = f"`min <= max` must hold, but got (min={least}, max={most})"
            self.file.problem((*place, "min"), sentence)
        if low == 1 and 0 in (least, most):
            sentence = f"a trial needs at least one feature set, but got (min={least}, max={most})"
            self.file.problem(place, sentence)
        return max(least, low), min(most, number)
