"""Rows at which a feature set was measured: those at which a detector found what the features are
of.

A feature set of dataset.yaml or streams.yaml may say which columns tell, and from which value on:
`valid: {success: 1, confidence: 0.8}`. Where it says nothing, columns such as OpenFace's `success`
or a `valid` do, above 0; a confidence needs a threshold, so it counts only where one is given.
`valid: {}` takes every row.

Conventions: a row counts where all its columns reach their lowest values; an empty cell reaches
none. The values of other rows are missing: a frame keeps its place, and what else it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ulp

import numpy as np

from va_search.data.arrays import Flags, Floats
from va_search.data.column_names import Roles

ABOVE_0 = ulp(0.0)
"""The lowest number above 0."""


@dataclass(frozen=True)
class Validity:
    """The columns that tell which rows of a feature set count, and the lowest value of each at which
    one does; no columns: all count."""

    columns: tuple[str, ...] = ()
    lowest: tuple[float, ...] = ()

    @classmethod
    def of(cls, declared: Mapping[str, float] | None, roles: Roles) -> Validity:
        """The declared columns, or those of success among a file's columns."""
        if declared is None:
            declared = dict.fromkeys(roles.success, ABOVE_0)
        return cls(tuple(declared), tuple(declared.values()))

    def rows(self, numbers: Floats, header: Sequence[str]) -> Flags:
        """(rows,) True where a row of a sheet (rows, columns) with these column names counts."""
        counts = np.ones(len(numbers), dtype=bool)
        for column, lowest in zip(self.columns, self.lowest, strict=True):
            counts &= numbers[:, header.index(column)] >= lowest
        return counts

    def remark(self, feature_set: str) -> str:
        """Words on the rows that do not count, before their number."""
        conditions = []
        for column, lowest in zip(self.columns, self.lowest, strict=True):
            bound = "not above 0" if lowest == ABOVE_0 else f"below {lowest:g}"
            conditions.append(f"{column!r} is {bound}")
        return (
            f"feature set {feature_set!r}: its values are missing where {' or '.join(conditions)}"
        )
