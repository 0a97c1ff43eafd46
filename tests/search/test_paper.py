"""The paper's searches fitted to stores and machines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from test_space import CASE, PAPER, SIX_FOLDS, write_store

from va_search.search.budget import planned_trials
from va_search.search.paper import SPACES, ablation, fitted_spaces
from va_search.search.space import load_space


def planned(folder: Path, sets: dict[str, str], size: str) -> dict[str, int | None]:
    store = write_store(folder / "store", sets, SIX_FOLDS)
    return {
        fitted.name: planned_trials(load_space(fitted.write(folder / "spaces"), store))
        for fitted in fitted_spaces(store, "paper" if size == "paper" else "small")
    }


@pytest.mark.parametrize(
    ("sets", "size", "expected"),
    [
        (PAPER, "paper", (120, 27, 6, 12)),
        (PAPER, "small", (32, 27, 12, 12)),
        (CASE, "small", (32, 45, 12, 4)),
        (CASE, "paper", (120, 45, 6, 4)),
        ({"only": "visual"}, "small", (32, 3, 12, 4)),
    ],
)
def test_every_fitted_space_loads_and_counts(
    tmp_path: Path, sets: dict[str, str], size: str, expected: tuple[int, ...]
) -> None:
    assert planned(tmp_path, sets, size) == dict(zip(SPACES, expected, strict=True))


def test_on_the_papers_features_at_its_size_nothing_is_replaced(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", PAPER, SIX_FOLDS)
    shipped = Path(__file__).parents[2] / "search_spaces"
    for fitted in fitted_spaces(store, "paper"):
        assert fitted.remarks == []
        assert fitted.document == yaml.safe_load((shipped / f"{fitted.name}.yaml").read_text())


def test_what_is_replaced_is_told_in_the_file(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", CASE, SIX_FOLDS)
    for fitted in fitted_spaces(store, "small"):
        head = fitted.write(tmp_path / "spaces").read_text()
        assert "# Small models" in head and "# The store has not the paper's feature sets" in head
        settings = fitted.document["settings"]
        assert settings["frame_step"] == 5  # 25 frames per second in this store
        assert settings["normalise"] == "subject"


def test_without_test_recordings_there_is_no_train_val_mix(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", PAPER, ("train", "train", "validation"))
    assert [fitted.name for fitted in fitted_spaces(store, "small")] == [
        "paper",
        "paper_ablation",
        "paper_folds",
    ]


def test_an_ablation_has_each_alone_each_left_out_and_all() -> None:
    assert ablation(["a"]) == [["a"]]
    assert ablation(["a", "b"]) == [["a"], ["b"], ["a", "b"]]
    assert ablation(["a", "b", "c"]) == [
        ["a"],
        ["b"],
        ["c"],
        ["b", "c"],
        ["a", "c"],
        ["a", "b"],
        ["a", "b", "c"],
    ]
