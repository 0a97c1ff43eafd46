"""Predictions against annotations: over time, as a scatter, and recording by recording.

They are the ensemble's, or the best trial's, on recordings that have annotations. Recordings are
ranked by the mean of their targets' CCCs; one with an annotation that does not vary, or has no
label, has no rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.ensemble.saved import Ensemble, predict
from va_search.errors import InputError, counted
from va_search.metrics import ccc
from va_search.predictions.bank import Bank
from va_search.report.chosen import ChosenEnsemble
from va_search.report.figures.drawing import (
    DASHED,
    INK,
    evenly,
    panel,
    short,
    target_colours,
)
from va_search.report.gather import Gathered, validated_fold
from va_search.report.pages import Figure, Picture
from va_search.report.words import first_names, heading, mean_ccc
from va_search.table import Missing, number
from va_search.targets import Target, clipped, names
from va_search.trial import ALL

CONSTANT = 1e-12
"""Variance of an annotation under which a recording's CCC says nothing."""
MOST_POINTS = 450
"""Points of a line over time; longer recordings are thinned evenly."""
MOST_DOTS = 900
"""Points of a scatter."""
MOST_BARS = 200
"""Recordings with a bar of their own; of more, the ranks are thinned evenly."""
MOST_NAMES = 12
"""Recordings without a CCC that are named."""


@dataclass(frozen=True)
class RecordingCurves:
    """One recording: predictions and annotations, both (frames, targets), NaN unlabelled."""

    recording: Recording
    prediction: NDArray[np.float64]
    annotation: NDArray[np.float64]

    def ccc(self, column: int) -> float:
        """Of this recording alone; NaN where nothing is labelled or the annotation does not
        vary."""
        labels = self.annotation[:, column]
        labelled = labels[~np.isnan(labels)]
        if not labelled.size or labelled.var() <= CONSTANT:
            return math.nan
        return ccc(self.prediction[:, column], labels)

    @cached_property
    def cccs(self) -> list[float]:
        """Of each target."""
        return list(map(self.ccc, range(self.annotation.shape[1])))

    @property
    def mean_ccc(self) -> float:
        """Mean over the targets; NaN where one of them has none."""
        return sum(self.cccs) / len(self.cccs)


@dataclass(frozen=True)
class PredictedCurves:
    """All recordings' curves; `model` predicted them, `measured` says what its CCCs are."""

    model: str
    measured: str
    recordings: tuple[RecordingCurves, ...]
    targets: tuple[Target, ...]

    @property
    def title(self) -> str:
        """Model and measurement, as a sentence begins."""
        return f"{self.model[:1].upper()}{self.model[1:]}, {self.measured}"

    @property
    def target_names(self) -> tuple[str, ...]:
        return names(self.targets)

    @property
    def colours(self) -> dict[str, str]:
        """The colour of each target by its name."""
        return target_colours(self.target_names)

    def frames(self, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Prediction and annotation over the frames of all recordings, (frames,) each."""
        prediction = np.concatenate([curves.prediction for curves in self.recordings])
        annotation = np.concatenate([curves.annotation for curves in self.recordings])
        return prediction[:, column], annotation[:, column]

    def pooled(self, column: int) -> float:
        """CCC over all labelled frames."""
        return ccc(*self.frames(column))

    @cached_property
    def ranked(self) -> list[RecordingCurves]:
        """Recordings whose targets all have a CCC, the best first."""
        ranked = [curves for curves in self.recordings if math.isfinite(curves.mean_ccc)]
        return sorted(ranked, key=lambda curves: -curves.mean_ccc)

    @property
    def why_unranked(self) -> str:
        """The reason why there is no best and no worst recording."""
        annotations = "both annotations vary"
        if len(self.targets) != 2:
            annotations = "every target's annotation varies"
        return f"In no recording {annotations}, so none is the best or the worst."


def find_predictions(gathered: Gathered, chosen: ChosenEnsemble) -> PredictedCurves | str:
    """The ensemble's predictions where it has any on annotated recordings, else the best trial's;
    a text that says why where there are neither."""
    store = gathered.store
    if store is None:
        return f"The store can't be read: {gathered.store_problem}."
    bank = Bank(gathered.home.bank)
    reason = ""
    if chosen.ensemble is not None:
        try:
            return _of_ensemble(chosen.ensemble, bank, store)
        except InputError as error:
            reason = f"Ensemble {chosen.ensemble.name}: {error.problems[0]}. "
    whole = [trial for trial in gathered.on_main_fold if trial.score is not None]
    best = max(whole, key=lambda trial: trial.score or 0.0, default=None)
    if best is None:
        return reason + "No complete trial has predictions on validation."
    recordings = store.fold(validated_fold(best)).validation
    frames = frames_hash(recordings)
    try:
        values = bank.read(best.study, best.id, "validation", frames_hash=frames)
    except InputError as error:
        return reason + f"{error.problems[0]}."
    measured = "in-sample: its own best epochs on these recordings"
    curves = _curves(store, recordings, values)
    return PredictedCurves(f"trial {best.id}", measured, curves, store.targets)


def _of_ensemble(ensemble: Ensemble, bank: Bank, store: Store) -> PredictedCurves:
    """InputError where it has no predictions on annotated recordings, or they are not those of this
    store."""
    folds = set()
    for _, piece in ensemble.pieces:
        is_scored = piece.scores.get("in_sample")
        folds.add(piece.measured_on.fold if is_scored else None)
    # Members of different folds predicted different recordings, those of train_val_mix none.
    fold = folds.pop()
    if folds or fold is None:
        raise InputError("not all of its members have predictions on the same annotated recordings")
    recordings = store.labelled if fold == ALL else store.fold(fold).validation
    # A submission is clipped to the targets' ranges, so the figures are too.
    values = predict(ensemble, bank, "validation", recordings)
    curves = _curves(store, recordings, clipped(values, store.targets))
    measured = "in-sample: its weights were chosen on these recordings"
    return PredictedCurves(f"ensemble {ensemble.name}", measured, curves, store.targets)


def _curves(
    store: Store, recordings: Sequence[Recording], values: NDArray[np.floating]
) -> tuple[RecordingCurves, ...]:
    """The frames' predictions, `values` (frames, targets), cut into recordings."""
    annotations = store.annotations[positions(tuple(recordings))].astype(np.float64)
    curves = []
    start = 0
    for recording in recordings:
        frames = slice(start, start + recording.frames)
        prediction = values[frames].astype(np.float64)
        curves.append(RecordingCurves(recording, prediction, annotations[frames]))
        start += recording.frames
    return tuple(curves)


# Over time ----------------------------------------------------------------------------------------

TYPICAL = "A typical recording"
BEST_AND_WORST = "The best and the worst recording"
LINES = "Line in the text's colour: annotation; coloured: prediction. CCC: of this recording alone."


def typical_recording(curves: PredictedCurves | str) -> Figure:
    """The recording with the median CCC over time; a text instead of curves says why there is
    none."""
    if isinstance(curves, str):
        return Figure(TYPICAL, missing=Missing(curves))
    if not curves.ranked:
        return Figure(TYPICAL, missing=Missing(curves.why_unranked))
    rank = len(curves.ranked) // 2
    shown = curves.ranked[rank]
    title = f"{shown.recording.name}, the median of {counted(len(curves.ranked), 'recording')}"
    ranking = f"Ranked by {_ranking(curves)}, here {number(shown.mean_ccc)}"
    caption = f"{ranking}. {curves.title}. {LINES}"
    return Figure(title, _lines(curves, shown, "median"), caption)


def best_and_worst(curves: PredictedCurves | str) -> Figure:
    """The recordings with the highest and the lowest CCC over time; a text instead of curves says
    why there are none."""
    if isinstance(curves, str):
        return Figure(BEST_AND_WORST, missing=Missing(curves))
    if len(curves.ranked) < 2:
        reason = curves.why_unranked
        if curves.ranked:
            reason = "One recording alone has a CCC: it is the typical one."
        return Figure(BEST_AND_WORST, missing=Missing(reason))
    pictures = (
        *_lines(curves, curves.ranked[0], "best"),
        *_lines(curves, curves.ranked[-1], "worst"),
    )
    caption = f"Of {len(curves.ranked)} recordings by {_ranking(curves)}. {curves.title}. {LINES}"
    return Figure(BEST_AND_WORST, pictures, caption)


def _ranking(curves: PredictedCurves) -> str:
    """The number by which recordings are ranked, in words."""
    ranking = mean_ccc(curves.target_names, "their")
    return ranking if len(curves.targets) == 1 else f"the {ranking}"


def _lines(curves: PredictedCurves, shown: RecordingCurves, rank: str) -> tuple[Picture, ...]:
    """A picture of the recording for each target."""
    return tuple(_line(curves, shown, rank, index) for index in range(len(curves.targets)))


def _line(curves: PredictedCurves, shown: RecordingCurves, rank: str, index: int) -> Picture:
    target, name = curves.targets[index], shown.recording.name
    frames = evenly(len(shown.prediction), MOST_POINTS)
    seconds = frames / shown.recording.frames_per_second
    value = number(shown.ccc(index))
    title = f"{rank}: {short(name)}, {target.name}, CCC {value}"
    panel_name = f"time-{rank}-{target.name}"
    with panel(panel_name, title=title, x="seconds", y=target.name, height=2.3) as drawn:
        axis = drawn.axis
        axis.plot(seconds, shown.annotation[frames, index], color=INK, linewidth=1.0, alpha=0.75)
        colour = curves.colours[target.name]
        axis.plot(seconds, shown.prediction[frames, index], color=colour)
        axis.set_ylim(*_limits(shown, index, target))
        axis.set_xlim(0, max(seconds[-1], 1e-6))
        return drawn.picture(
            f"{heading(target.name)} over the {seconds[-1]:.0f} seconds of recording {name}, the "
            f"{rank} one: annotation and prediction of {curves.model}, CCC {value}."
        )


def _limits(shown: RecordingCurves, index: int, target: Target) -> tuple[float, float]:
    """The target's range, cut to where lines are, and at least a fifth of it."""
    both = np.concatenate([shown.annotation[:, index], shown.prediction[:, index]])
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    # Without a least height a constant prediction's rounding errors would fill the picture.
    least = (target.high - target.low) / 5
    spare = max(0.0, least - (high - low)) / 2 + 0.04 * max(high - low, least)
    return low - spare, high + spare


# Scatter ------------------------------------------------------------------------------------------

SCATTER = "Predictions against annotations"


def scatter(curves: PredictedCurves | str) -> Figure:
    """Prediction against annotation, frame by frame, with the pooled CCC; a text instead of curves
    says why there is none."""
    if isinstance(curves, str):
        return Figure(SCATTER, missing=Missing(curves))
    caption = (
        f"{curves.title}. At most {MOST_DOTS} labelled frames of all recordings, evenly picked; "
        "the CCC is over all of them. On the line prediction and annotation agree."
    )
    pictures = [_scatter_picture(curves, column) for column in range(len(curves.targets))]
    return Figure(SCATTER, tuple(pictures), caption)


def _scatter_picture(curves: PredictedCurves, column: int) -> Picture:
    target = curves.targets[column]
    prediction, annotation = curves.frames(column)
    value = number(ccc(prediction, annotation))
    labelled = np.flatnonzero(~np.isnan(annotation))
    frames = labelled[evenly(len(labelled), MOST_DOTS)]
    low, high = target.range
    with panel(
        f"scatter-{target.name}",
        title=f"{target.name}, CCC {value}",
        x="annotation",
        y="prediction",
        grid="both",
        height=4.2,
    ) as drawn:
        axis = drawn.axis
        axis.plot([low, high], [low, high], color=INK, linewidth=0.8, alpha=0.5)
        colour = curves.colours[target.name]
        (dots,) = axis.plot(annotation[frames], prediction[frames], "o", color=colour, alpha=0.4)
        dots.set(markersize=3.5, markeredgewidth=0.0)
        axis.set_xlim(low, high)
        axis.set_ylim(low, high)
        # Equal units on both axes: the line of agreement is the diagonal.
        axis.set_aspect("equal")
        return drawn.picture(
            f"Scatter of {target.name}: prediction of {curves.model} against annotation, "
            f"{len(labelled)} labelled frames, pooled CCC {value}."
        )


# Recording by recording ---------------------------------------------------------------------------

EACH_RECORDING = "CCC of single recordings"


def each_recording(curves: PredictedCurves | str) -> Figure:
    """The CCC of every recording by itself, sorted; a text instead of curves says why there is
    none."""
    if isinstance(curves, str):
        return Figure(EACH_RECORDING, missing=Missing(curves))
    pictures, undefined = [], []
    for column, target in enumerate(curves.target_names):
        defined, without = [], []
        for recording in curves.recordings:
            value = recording.ccc(column)
            if math.isfinite(value):
                defined.append((value, recording.recording.name))
            else:
                without.append(recording.recording.name)
        if without:
            undefined.append(f"{target}: {first_names(without, MOST_NAMES)}")
        if defined:
            pictures.append(_bars(curves, column, sorted(defined, reverse=True)))
    headline = "The dashed line is the CCC over all frames together, the headline number."
    caption = f"{curves.title}. {headline}"
    if undefined:
        caption += (
            " Not defined, since nothing is labelled or the annotation does not vary: "
            f"{'; '.join(undefined)}."
        )
    if not pictures:
        reason = f"No recording has a CCC of its own. {caption}"
        return Figure(EACH_RECORDING, missing=Missing(reason))
    return Figure(EACH_RECORDING, tuple(pictures), caption)


def _bars(curves: PredictedCurves, column: int, ranked: list[tuple[float, str]]) -> Picture:
    """A bar per recording; `ranked`: CCC and name, the best first."""
    values = np.array([value for value, _ in ranked])
    median, pooled = float(np.median(values)), curves.pooled(column)
    target = curves.target_names[column]
    ranks = evenly(len(values), MOST_BARS)
    title = f"{target}: median {number(median)}, all frames {number(pooled)}"
    label = f"{len(values)} recordings, best first"
    with panel(f"recordings-{target}", title=title, x=label, y="CCC") as drawn:
        colour = curves.colours[target]
        drawn.axis.bar(ranks + 1, values[ranks], width=0.8, color=colour, linewidth=0)
        drawn.axis.axhline(0.0, color=INK, linewidth=0.6)
        drawn.axis.axhline(pooled, color=INK, linewidth=0.9, linestyle=DASHED)
        best, worst = ranked[0], ranked[-1]
        return drawn.picture(
            f"Bars: {target} CCC of {len(values)} recordings by itself, from {number(best[0])} "
            f"({best[1]}) to {number(worst[0])} ({worst[1]}), median {number(median)}; over all "
            f"frames {number(pooled)}."
        )
