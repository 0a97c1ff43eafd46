"""What a study spends of its budget: over runs, over processes, and what ends first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.budget import StudyBudget
from va_search.search.plan import START_SECONDS, Pace, _outlook
from va_search.search.space import read_space
from va_search.search.space_header import Budget
from va_search.search.spending import (
    Account,
    Ledger,
    Run,
    Spent,
    accounts,
    accounts_text,
    first_to_end,
    idle_bounds,
    spent_by,
    total,
    united_seconds,
)
from va_search.search.study import Study


def test_time_that_runs_have_in_common_counts_once_and_their_devices_add_up() -> None:
    runs = [Run(100, 50, 5, 50), Run(120, 60, 6, 60), Run(130, 10, 1, 10), Run(500, 5, 0, 5)]
    assert united_seconds(runs) == 80 + 5
    assert total(runs) == Spent(85, 12, 125)
    assert total([]) == Spent()


def test_a_ledger_reads_the_runs_of_others_and_bears_damaged_files(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    assert first.own != second.own and first.runs() == []
    first.note(Run(1, 2, 3, 4))
    second.note(Run(5, 6))
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "other.json").write_text(json.dumps({"began_at": "x"}))
    (tmp_path / "list.json").write_text("[]")
    assert second.runs() == [Run(1, 2, 3, 4)] and first.runs() == [Run(5, 6)]
    assert Ledger(tmp_path).runs() == [Run(1, 2, 3, 4), Run(5, 6)]


def test_money_is_device_time_at_its_rates() -> None:
    spent = Spent(3600, 2 * 3600, 10 * 3600)
    assert spent.money(Budget(money=5, cost_per_gpu_hour=2.5)) == 5
    assert spent.money(Budget(cost_per_core_hour=0.1)) == pytest.approx(1)
    assert spent.money(Budget(cost_per_gpu_hour=2.5, cost_per_core_hour=0.1)) == pytest.approx(6)
    assert spent.money(Budget()) is None


def test_the_four_accounts_say_what_is_spent_and_left_and_what_ends_first() -> None:
    budget = Budget(trials=40, hours=2, gpu_hours=8, money=30, cost_per_gpu_hour=5)
    kept = accounts(budget, Spent(3600, 2 * 3600, 0), 10)
    assert accounts_text(kept) == (
        "trials 10 of 40 · hours 1.00 of 2 · GPU-hours 2.00 of 8 · money 10.00 of 30"
    )
    assert [account.left for account in kept] == [30, 1, 6, 20]
    first = first_to_end(kept, 3600)
    assert first is not None and first[0].name == "hours" and first[1] == pytest.approx(3600)
    assert first_to_end(accounts(budget, Spent(), 0), 0) is None
    assert Account("money", 30, 30).is_exhausted and not Account("money", 30, None).is_exhausted


def test_bounds_in_devices_that_no_trial_takes_are_named() -> None:
    assert len(idle_bounds(Budget(gpu_hours=1, money=1, cost_per_gpu_hour=1), 0.0)) == 2
    assert not idle_bounds(Budget(gpu_hours=1, money=1, cost_per_gpu_hour=1), 0.5)
    assert not idle_bounds(Budget(money=1, cost_per_core_hour=1), 0.0)


@pytest.mark.parametrize(
    ("budget", "ends_first", "seconds", "trials"),
    [
        ({}, "trials", 1000, 20),
        ({"hours": 0.1}, "hours", 360 + 100, 9.2),
        ({"hours": 10, "gpu_hours": 0.1}, "gpu_hours", 360 + 100, 9.2),  # 2 at a time, half each
        ({"money": 1, "cost_per_core_hour": 7.2}, "money", 250 + 100, 7),
    ],
)
def test_a_plan_tells_which_account_ends_the_search(
    budget: dict[str, float], ends_first: str, seconds: float, trials: float
) -> None:
    pace = Pace(per_trial=100, concurrent=2, gpus=0.5, cores=1)
    outlook = _outlook(Budget(**budget), pace, Spent(), 20)  # type: ignore[arg-type]
    assert outlook.ends_first == ends_first and outlook.trials == pytest.approx(trials)
    assert outlook.seconds == pytest.approx(START_SECONDS + seconds)
    assert outlook.spent.gpu_seconds == pytest.approx(trials * 100 * 0.5)


def test_what_is_spent_already_shortens_the_plan() -> None:
    pace = Pace(per_trial=100, concurrent=1, gpus=0, cores=1)
    outlook = _outlook(Budget(hours=1), pace, Spent(seconds=3600), None)
    assert outlook.trials == 0 and outlook.ends_first == "hours"
    assert _outlook(Budget(), pace, Spent(), None).seconds is None


def test_a_study_counts_its_own_runs_and_those_of_others_and_ends_by_its_gpu_hours(
    tmp_path: Path, tiny_store: Store
) -> None:
    document = {
        "sampler": "grid",
        "budget": {"gpu_hours": 0.5},
        "settings": {"features": ["face"], "encoder": "gru", "layers": {"choice": [1, 2, 3]}},
    }
    space = read_space(document, tiny_store, path=Path("space.yaml"), name="space")
    study = Study(Home(tmp_path), "s")
    study.begin(tiny_store, document)
    Ledger(study.folder / "spent").note(Run(0.0, 100.0, gpu_seconds=1000.0))
    budget = StudyBudget(study, space, spent=100.0)
    assert budget.take_devices(0.5, 1) == [] and budget.exhausted is None
    budget.accrue(2)
    budget._accrued_at -= 900  # two tasks on half a GPU each, for a quarter of an hour
    budget.accrue(0)
    assert budget.spent.gpu_seconds == pytest.approx(1900, abs=5)
    assert budget.exhausted is not None and "GPU-hours are spent" in budget.exhausted
    budget.note_time()
    resumed = StudyBudget(study, space, spent=study.document()["seconds"])
    assert resumed.exhausted == budget.exhausted
    assert spent_by(study).gpu_seconds == pytest.approx(1900, abs=5)
