"""An ensemble as it is saved: `ensembles/<name>.json` under home, members, weights and scores per
dimension.

Conventions: a score is a pooled CCC over the labelled frames of the validation recordings
`measured_on` tells of. `in_sample`: on the very recordings the weights were chosen on, so too high.
`out_of_fold`: weights chosen again without the recordings they are judged on; null where that was
impossible, with the reason in `measured_on`. Weights sum to 1 within a dimension and are positive
(a recipe `ridge` may give negative ones too); predictions are on the source's scale. `post` is what
is done to the weighted sum (`apply.combine`); files without it do nothing to it.

`measured_on.fold` is "all" where members are configurations over folds (over_folds.py), measured on
every labelled recording, and "train_val_mix" where members trained on all of them: every score is
null then, and all count alike. A blend has `parts`, whole ensembles with their shares, and no
dimensions of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from va_search.ensemble.apply import AS_IT_IS, PostProcessing
from va_search.errors import InputError, unknown_name
from va_search.files import Home, read_json


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Scores(Document):
    """The CCC of one dimension, labelled by what it was measured on; `interval`: 95 %, of the
    out-of-fold one.

    `in_sample` is null where nothing can be measured: members trained on every labelled
    recording."""

    in_sample: float | None
    out_of_fold: float | None
    interval: tuple[float, float] | None = None


class Member(Document):
    """A trial with weight; `ccc` is its own CCC, in-sample. What describes a training is null for
    outside models.

    A configuration over folds (source "folds") has the trials of its folds in `trials`, which count
    alike. `gain`: the ensemble's CCC out-of-fold less that without this member, the others keeping
    their proportions. `content` stands for the predictions of an outside model, which may be
    replaced under the same name."""

    study: str
    trial: str
    weight: Annotated[float, Field(allow_inf_nan=False)]
    ccc: float | None
    gain: float | None = None
    source: str
    trials: dict[str, str] | None = None
    encoder: str | None = None
    fusion: str | None = None
    features: list[str] | None = None
    seed: int | None = None
    content: str | None = None


class Single(Document):
    """The best single trial: `in_sample` is the named trial's; for `out_of_fold` it was chosen
    again in every fold."""

    study: str
    trial: str
    scores: Scores


class Both(Document):
    """The best single trial for both dimensions: one trial, by the mean of its two CCCs; scores as
    in `Ensemble`."""

    study: str
    trial: str
    scores: dict[str, dict[str, float] | None]
    intervals: dict[str, tuple[float, float] | None] | None = None


class Difference(Document):
    """The ensemble's out-of-fold CCC less that of the best single trial per dimension; `interval`:
    95 %, paired."""

    value: float
    interval: tuple[float, float] | None


class Spread(Document):
    """Quartiles of the CCCs of single recordings, out-of-fold; `undefined` ones are counted and
    left out.

    `correlation`: the median correlation of prediction and annotation within a recording.
    """

    low: float | None
    median: float | None
    high: float | None
    recordings: int
    undefined: int
    correlation: float | None = None


class Weighted(Document):
    """One dimension of an ensemble: how it was built, its members by weight, and its scores.

    `shrink`: how far the weights are shrunk toward equal ones (that is in the weights already).
    `takes`: the recipe that `auto` took here. `outside`: whether models from elsewhere were among
    those it could choose."""

    recipe: dict[str, Any]
    members: Annotated[list[Member], Field(min_length=1)]
    scores: Scores
    best_single: Single | None
    post: PostProcessing = AS_IT_IS
    shrink: float = 0.0
    takes: str | None = None
    outside: bool = True
    per_recording: Spread | None = None


class MeasuredOn(Document):
    """What the scores were measured on; `folds` is 0 and `reason` set where out-of-fold scores are
    impossible.

    `groups`: how many sets of recordings that are kept together there are, over which intervals are
    made."""

    split: str
    fold: str | int
    recordings: int
    labelled_frames: int
    folds: int
    kept_together: str
    reason: str | None
    groups: int | None = None


class Part(Document):
    """A part of a blend: a whole ensemble, and how much of it."""

    share: Annotated[float, Field(gt=0, le=1)]
    ensemble: Ensemble


class Ensemble(Document):
    """A whole ensemble, or a blend of several.

    `scores` and `best_single`: {in_sample, out_of_fold} -> {valence, arousal, score} or null.
    `best_single` is the best trial per dimension, `best_for_both` one trial for both. `intervals`:
    {ensemble, best_single} -> {valence, arousal, score} -> 95 % interval of the out-of-fold score.
    `differences`: {valence, arousal, score} -> the ensemble less the best trial per dimension.
    `complete`: how many trials of each study were complete when it was built."""

    name: str
    recipe: str
    recipe_document: dict[str, Any]
    created_at: str
    package_version: str
    studies: list[str]
    store: str
    store_name: str
    label_range: tuple[float, float]
    frames_hash: str
    test_frames_hash: str | None
    candidates: int
    left_out: dict[str, int]
    notes: list[str]
    measured_on: MeasuredOn
    dimensions: dict[str, Weighted]
    scores: dict[str, dict[str, float] | None]
    best_single: dict[str, dict[str, float] | None]
    intervals: dict[str, dict[str, tuple[float, float] | None] | None] | None = None
    best_for_both: Both | None = None
    differences: dict[str, Difference] | None = None
    complete: dict[str, int] | None = None
    parts: list[Part] = []

    @property
    def pieces(self) -> list[tuple[float, Ensemble]]:
        """(share, ensemble) of everything that has members: a blend's parts, or the ensemble itself
        with share 1."""
        if not self.parts:
            return [(1.0, self)]
        return [
            (part.share * share, piece)
            for part in self.parts
            for share, piece in part.ensemble.pieces
        ]


def read_ensemble(home: Home, name: str) -> Ensemble:
    """The saved ensemble `name`; InputError, with the known names, when there is none, or when it
    is not whole."""
    path = home.ensemble(name)
    if not path.is_file():
        known = known_ensembles(home)
        hint = "" if known else "; build one with `va-search ensemble STUDY --name NAME`"
        raise InputError(unknown_name("ensemble", name, known) + hint)
    try:
        return Ensemble.model_validate(read_json(path))
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()[:5]
        )
        raise InputError(
            f"{path}: not an ensemble as va-search saves it ({found}); build it again"
        ) from error


def known_ensembles(home: Home) -> list[str]:
    """Names of the ensembles under this home."""
    return sorted(
        path.stem
        for path in Path(home.root, "ensembles").glob("*.json")
        if not path.name.startswith(".")
    )
