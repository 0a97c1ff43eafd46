"""The page of a study while it is searched: best trials, history, Pareto set, settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_world import World
from trial_world import best_of, make_trial

from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.report import study_page as module
from va_search.report.figures.progress import history_figure, pareto_figure
from va_search.report.study_page import study_page
from va_search.targets import AFFECT
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings


def made(number: int, home: Home | None = None, **changes: Any) -> Trial:
    """A compact trial; whole in the bank of `home`. Valence grows with its number, arousal
    falls."""
    settings = TrialSettings(
        features=("fau", "hubert") if number % 2 else ("fau",),
        seed=0,
        learning_rate=1e-3 / (number + 1),
    )
    valence, arousal = number / 100, 0.5 - number / 200
    finished_at = f"2025-01-02T10:{number // 60:02}:{number % 60:02}+00:00"
    trial = make_trial(
        "s",
        f"{number:016x}",
        settings=settings,
        ccc=(valence, arousal),
        finished_at=finished_at,
        **changes,
    )
    if home is not None:
        Bank(home.bank).write(trial, {})
    return trial.compact()


def test_a_page_and_a_table_of_the_best(tmp_path: Path) -> None:
    home = Home(tmp_path)
    records = [made(number, home) for number in range(25)]
    failed = make_trial("s", "f" * 16, failed="ValueError: nan")
    found = study_page(home, "s", "both", None, [*records, failed])
    assert set(found) == {"study.html", "best.json"}
    columns, data = found["best.json"]["columns"], found["best.json"]["data"]
    assert columns[:4] == ["trial", "score", "valence", "arousal"] and "learning_rate" in columns
    assert [row[0] for row in data] == [f"{number:016x}" for number in range(24, 4, -1)]
    assert data[0][1:4] == ["0.310", "0.240", "0.380"]
    page = found["study.html"]
    assert "25 trials complete, 1 failed; objective both" in page
    for title in ("Best so far", "Pareto set", "Parallel coordinates", "What decided"):
        assert f"<h3>{title}" in page
    assert page.count("<svg") == 5, "history, Pareto set, parallel coordinates, two of what decided"
    assert "one in" not in page, "all are drawn"


def test_it_ranks_by_what_is_searched(tmp_path: Path) -> None:
    home = Home(tmp_path)
    records = [made(number, home) for number in range(12)]
    found = study_page(home, "s", "arousal", None, records)
    assert found["best.json"]["data"][0][0] == f"{0:016x}"
    assert "Pareto set" not in found["study.html"]


def test_a_long_study_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    records = [made(number, home) for number in range(50)]
    monkeypatch.setattr(module, "SAMPLE", 20)
    read: list[str] = []
    whole = Bank.trial
    monkeypatch.setattr(
        Bank, "trial", lambda bank, study, trial: read.append(trial) or whole(bank, study, trial)
    )
    page = study_page(home, "s", "score", None, records)["study.html"]
    assert len(read) == 17 + module.BEST
    assert "over one in 3 of 50 trials, evenly by score" in page
    assert "17 of 17 configurations" in page
    assert "50 trained trials in the order they finished" in page, "the history has them all"


def test_a_study_that_has_just_begun_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for records in ([], [made(0, home)], [replace(made(1, home), best={})]):
        found = study_page(home, "s", "both", None, records)
        assert (
            "What decided</b>: No setting varies" in found["study.html"].split("Not shown</h2>")[1]
        )
    assert found["best.json"]["data"] == []


def test_damaged_records_are_left_out(tmp_path: Path) -> None:
    home = Home(tmp_path)
    records = [made(number, home) for number in range(12)]
    (home.bank / "s" / f"{11:016x}" / "trial.json").write_text("{")
    (home.bank / "s" / f"{10:016x}" / "trial.json").unlink()
    found = study_page(home, "s", "score", None, records)
    assert found["best.json"]["data"][0][0] == f"{9:016x}"


def test_the_whole_world(world: World) -> None:
    records = [
        trial.compact() for study in ("ablation", "folds") for trial in world.bank.each_trial(study)
    ]
    page = study_page(world.home, "ablation", "score", world.store, records)["study.html"]
    assert "<script" not in page and page.count("<svg") >= 2


def test_the_best_so_far_never_falls() -> None:
    (shown,) = history_figure([made(number) for number in (3, 1, 2)]).pictures
    assert (
        "valence 0.030" in shown.alt
        and "arousal 0.495" in shown.alt
        and "over 3 trials" in shown.alt
    )
    assert history_figure([]).missing is not None


def test_the_pareto_set_is_told() -> None:
    dominated = replace(made(9), best=best_of(-0.5))
    (shown,) = pareto_figure([made(1), made(2), dominated], AFFECT).pictures
    assert shown.alt == "2 of 3 trials are in the Pareto set: 0.020 and 0.490; 0.010 and 0.495."
    assert pareto_figure([], AFFECT).missing is not None
