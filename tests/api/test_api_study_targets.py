"""Frames of the API for studies with one target, and with three; progress in words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from target_study import STUDY, TargetStudy, make_target_study, slow_cccs
from target_world import ONE, THREE

import va_search as va
from va_search.api.progress import progress_text, summary_lines
from va_search.files import Home


@pytest.fixture(scope="module", params=[ONE, THREE], ids=["one", "three"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TargetStudy:
    return make_target_study(tmp_path_factory.mktemp("api"), request.param)


def test_trials_have_a_column_a_target(study: TargetStudy) -> None:
    opened = va.open_study(STUDY, home=study.home.root)
    targets = study.store.target_names
    table = opened.trials()
    assert tuple(table.columns[: len(targets) + 1]) == (*targets, "score")
    for trial in study.trials:
        for name in (*targets, "score"):
            assert table.loc[trial.id, name] == trial.ccc(name)
    assert set(opened.best) == {*targets, "score"}
    for name in (*targets, "score"):
        best = study.best(name)
        assert opened.best[name] == (best.id, best.ccc(name))


def test_predictions_are_those_the_scores_are_of(study: TargetStudy) -> None:
    opened = va.open_study(STUDY, home=study.home.root)
    trial = study.trials[0]
    table = opened.predictions(trial.id)
    targets = study.store.target_names
    annotated = [f"{target}_annotation" for target in targets]
    assert list(table.columns) == ["recording", "frame", *targets, *annotated]
    cccs = slow_cccs(table[list(targets)].to_numpy(), table[annotated].to_numpy(), targets)
    for target in targets:
        assert cccs[target] == pytest.approx(trial.ccc(target))
    # Each target counts its own labels: target number k lacks 5 frames that others may have.
    recording = table[table["recording"] == table["recording"].iloc[0]]
    for number, column in enumerate(annotated):
        lacking = np.flatnonzero(recording[column].isna())
        first = 10 * (number + 1)
        assert lacking.tolist() == [*range(5), *range(first, first + 5)]


def test_curves_have_a_column_a_target(study: TargetStudy) -> None:
    opened = va.open_study(STUDY, home=study.home.root)
    trial = study.trials[0]
    curves = opened.curves(trial.id)
    for target in study.store.target_names:
        ccc = trial.ccc(target)
        assert curves[f"ccc_{target}"].tolist() == pytest.approx([0.5 * ccc, ccc, 0.9 * ccc])


def test_a_study_without_trials_has_the_stores_columns(study: TargetStudy) -> None:
    empty = f"empty-{len(study.store.targets)}"
    va.open_home(study.home.root)
    from va_search.search.study import Study

    Study(study.home, empty).begin(study.store, {"sampler": "grid", "settings": {}})
    table = va.open_study(empty, home=study.home.root).trials()
    assert list(table.columns) == [*study.store.target_names, "score"]


@dataclass
class Running:
    """What a line of progress reads."""

    best: dict[str, float]
    planned: int | None = 8
    finished: int = 2
    running: int = 1
    failed: int = 0
    seconds: float = 20.0
    seconds_left: float | None = None
    stopping: bool = False
    device: str | None = None
    lacks: str | None = None
    undelivered: int | None = None


@pytest.mark.parametrize(
    ("best", "wanted"),
    [
        ({}, ""),
        ({"engagement": 0.5}, "best engagement 0.500 (validation) · "),
        (
            {"valence": 0.5, "arousal": 0.25, "stress": 0.125},
            "best valence 0.500 · best arousal 0.250 · best stress 0.125 (validation) · ",
        ),
    ],
)
def test_progress_has_the_best_of_each_target(best: dict[str, float], wanted: str) -> None:
    text = progress_text(Running(best))  # type: ignore[arg-type]
    assert text == f"2/8 finished · 1 running · 0 failed · {wanted}20 s"


@dataclass
class Ended:
    """What the lines on a search's end read."""

    best: dict[str, tuple[str, float]]
    pareto: list[dict[str, object]] | None
    study: str = "s"
    planned: int = 2
    complete: int = 2
    trained: int = 2
    found: int = 0
    adopted: int = 0
    failed: int = 0
    missing: int = 0
    seconds: float = 20.0
    recovered: int = 0
    warm_start: list[object] = field(default_factory=list)
    beside: dict[str, int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    undelivered: int = 0
    tracking_problem: str | None = None
    reason: str | None = None


def test_the_end_of_a_search_names_the_best_of_each_target() -> None:
    one = Ended({"engagement": ("t1", 0.5), "score": ("t1", 0.5)}, None)
    lines = list(summary_lines(one, Home("home")))  # type: ignore[arg-type]
    assert lines[1].startswith("best engagement 0.500  validation")
    assert lines[2].startswith("best score    0.500") and lines[2].endswith("trial t1")
    best = {name: ("t1", 0.5) for name in ("valence", "arousal", "stress", "score")}
    point = {"trial": "t1", "valence": 0.5, "arousal": 0.25, "stress": 0.125}
    three = Ended(best, [point])
    lines = list(summary_lines(three, Home("home")))  # type: ignore[arg-type]
    assert lines[4].endswith("best single trial for all targets")
    assert lines[5].endswith("on one target without losing on another")
    assert lines[6].startswith("  valence 0.500  arousal 0.250  stress 0.125  validation")
