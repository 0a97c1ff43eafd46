"""What a search would cost: counts and times that hold for any order of a grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.data.baselines import baselines
from va_search.data.store import Store
from va_search.home import Home
from va_search.search import plan as plan_module
from va_search.search.configurations import Space
from va_search.search.plan import START_SECONDS, make_plan
from va_search.search.readiness import steps_text
from va_search.search.space import load_space
from va_search.search.summary import Progress
from va_search.table import number

LARGE = """sampler: grid
settings:
  features: [face]
  epochs: {{choice: {epochs}}}
  encoder: {{choice: [gru, transformer]}}
  learning_rate: {{choice: [{rates}]}}
  layers: {{choice: [1, 2], when: {{encoder: transformer}}}}
"""
RATES = ", ".join(f"{n}.0e-6" for n in range(1, 401))


def large(tmp_path: Path, store: Store, epochs: str, order: str = "first") -> Space:
    """A grid of 2,400 configurations, with few or many epochs first, or the epochs varying
    fastest."""
    text = LARGE.format(epochs=epochs, rates=RATES)
    if order == "last":
        line = f"  epochs: {{choice: {epochs}}}\n"
        text = text.replace(line, "") + line
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return load_space(path, store)


def mean_epochs(space: Space, store: Store) -> float:
    likely = plan_module._likely(space, store)
    settings, weights = zip(*likely, strict=True)
    return float(np.average([one.epochs for one in settings], weights=weights))


def test_a_large_grid_is_timed_alike_in_any_order(
    tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "LOOKED_AT", 1_000)  # drawn, not walked
    found = {}
    for epochs in ("[2, 200]", "[200, 2]"):
        for order in ("first", "last"):
            space = large(tmp_path, tiny_store, epochs, order)
            assert space.size() == 2 * 400 * 3
            likely = plan_module._likely(space, tiny_store)
            known = [(one, 1.0 + (one.encoder == "transformer")) for one, _ in likely[:200]]
            found[epochs, order] = plan_module._mean_trial(known, likely, tiny_store)
            assert mean_epochs(space, tiny_store) == pytest.approx(101, rel=0.06)
    # two of three configurations are transformers, whose epochs take 2 s
    assert all(seconds == pytest.approx(101 * 5 / 3, rel=0.1) for seconds in found.values()), found


def test_a_budget_trains_the_first_of_a_grid_and_these_are_timed(
    tmp_path: Path, tiny_store: Store
) -> None:
    path = tmp_path / "space.yaml"
    for epochs, expected in (("[2, 200]", 2.0), ("[200, 2]", 200.0)):
        path.write_text(
            "sampler: grid\nbudget: {trials: 5}\nsettings:\n  features: [face]\n  encoder: gru\n"
            f"  epochs: {{choice: {epochs}}}\n  learning_rate: {{choice: [0.1, 0.2, 0.3, 0.4, 0.5]}}\n"
        )
        assert mean_epochs(load_space(path, tiny_store), tiny_store) == expected


def test_the_configurations_that_are_timed_do_not_depend_on_the_order(
    tmp_path: Path, tiny_store: Store
) -> None:
    path = tmp_path / "space.yaml"
    spread = []
    for widths in ("[8, 64, 512]", "[512, 8, 64]"):
        path.write_text(
            "sampler: grid\nsettings:\n  features: {subset: all, max: 2}\n  encoder: gru\n"
            f"  width: {{choice: {widths}}}\n  epochs: 2\n"
        )
        likely = plan_module._likely(load_space(path, tiny_store), tiny_store)
        spread.append([one.model_dump() for one in plan_module._spread(likely, tiny_store)])
    assert spread[0] == spread[1]
    assert (spread[0][0]["width"], spread[0][-1]["width"]) == (8, 512)


def fast_space(tmp_path: Path, header: str = "") -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(
        f"sampler: grid\n{header}settings:\n  features: [face]\n  encoder: gru\n  width: 8\n  hidden_size: 8\n"
        "  head_sizes: [8]\n  epochs: 2\n  learning_rate: {choice: [0.1, 0.2, 0.3]}\n"
    )
    return path


def test_the_whole_has_rays_start_in_it_and_hours_are_no_estimate(
    tmp_path: Path, tiny_store: Store
) -> None:
    home = Home(tmp_path / "home")
    made = make_plan(
        home, load_space(fast_space(tmp_path, "budget: {hours: 5}\n"), tiny_store), tiny_store
    )
    assert made.seconds is not None and made.seconds_per_trial is not None and made.hours == 5
    assert START_SECONDS + made.seconds_per_trial <= made.seconds < 5 * 3600
    unknown = make_plan(home, load_space(fast_space(tmp_path, "budget: {hours: 5}\n"), tiny_store), tiny_store,
                        timed=False)  # fmt: skip
    assert unknown.seconds is None and unknown.hours == 5


def plan_text(tmp_path: Path, store: Store, text: str | None = None) -> str:
    path = fast_space(tmp_path, "budget: {hours: 0.5}\n")
    if text is not None:
        path.write_text(text)
    made = CliRunner().invoke(
        app,
        [
            "plan",
            str(path),
            "--data",
            str(store.path),
            "--home",
            str(tmp_path / "home"),
            "--concurrent",
            "1",
        ],
    )
    assert made.exit_code == 0, made.output
    return made.stdout


def test_plan_says_what_it_knows_and_calls_nothing_a_bound_that_is_none(
    tmp_path: Path, tiny_store: Store
) -> None:
    said = plan_text(tmp_path, tiny_store)
    assert "space      3 configurations × 1 seed × 1 fold (official)\n" in said
    assert (
        "hours      0.5: after 30 min no trial begins; those that run are trained to their end\n"
        in said
    )
    assert "on an idle machine, 1 trial at a time" in said
    assert "at most" not in said


def test_plan_shows_what_has_to_be_beaten_or_what_is_left_out(
    tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = baselines(tiny_store, ["official"])
    lines = ["to beat    CCC on the official split without any training:"]
    for entry in scores:
        cccs = [f"{target} {number(value)}" for target, value in entry.cccs.items()]
        lines.append(f"           {entry.title}: {', '.join(cccs)}")
    assert "\n".join(lines) in plan_text(tmp_path, tiny_store)
    assert "left out" not in plan_text(tmp_path, tiny_store)
    monkeypatch.setattr(plan_module, "BASELINE_SECONDS", 0.0)
    text = plan_text(tmp_path, tiny_store)
    assert "ridge on recording means: left out, it takes longer than 0 s; `va-search" in text


def test_an_endless_space_names_the_setting_that_makes_it_so(
    tmp_path: Path, tiny_store: Store
) -> None:
    said = plan_text(
        tmp_path, tiny_store,
        "sampler: random\nbudget: {trials: 4}\nseeds: [0, 1]\nsettings:\n  features: [face]\n  encoder: gru\n"
        "  width: 8\n  hidden_size: 8\n  epochs: 1\n  learning_rate: {float: [0.1, 0.2]}\n",
    )  # fmt: skip
    assert (
        "space      unlimited configurations (learning_rate: a range of decimal numbers) × 2 seeds × 1 fold"
        in said
    )


def progress(**changes: Any) -> Progress:
    known: dict[str, Any] = {
        "planned": 8, "finished": 0, "running": 2, "failed": 0, "best": {},
        "seconds": 21.0, "seconds_left": None, "stopping": False,
    }  # fmt: skip
    return Progress(**{**known, **changes})


def test_progress_says_where_it_trains() -> None:
    from va_search.api.progress import progress_text

    assert progress_text(progress()) == "0/8 finished · 2 running · 0 failed · 21 s"
    assert "2 running on the CPU ·" in progress_text(progress(device="the CPU"))


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (25.0, "frame_step 12, 25 at 25 frames a second: a model step lasts 0.48 or 1 s"),
        (1.0, "frame_step 1 at 1 frame a second: a model step lasts 1 s"),
    ],
)
def test_steps_are_related_to_the_rate_of_the_store(
    tmp_path: Path, tiny_store: Store, rate: float, expected: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "sampler: grid\nsettings:\n  features: [face]\n  segment_length: 5000\n"
        "  frame_step: {steps_per_second: [1, 2]}\n"
    )
    recordings = tuple(
        replace(recording, frames_per_second=rate) for recording in tiny_store.recordings
    )
    store = replace(tiny_store, recordings=recordings)
    text = steps_text(load_space(path, store), store)
    assert text.startswith(expected)
    assert "segment_length 5,000 holds whole recordings" in text


def test_recordings_of_a_few_steps_are_told(tmp_path: Path, tiny_store: Store) -> None:
    path = tmp_path / "space.yaml"
    longest = max(recording.frames for recording in tiny_store.recordings)
    path.write_text(f"sampler: grid\nsettings:\n  features: [face]\n  frame_step: {longest // 3}\n")
    text = steps_text(load_space(path, tiny_store), tiny_store)
    assert "little to follow over time, so take a smaller frame_step" in text
