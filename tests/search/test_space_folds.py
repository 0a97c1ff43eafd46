"""Which folds a space trains on: all of the store's, the official split never twice, and the one
without validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.folds import make_folds
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.search.budget import planned_trials
from va_search.search.configurations import Space
from va_search.search.space import load_space
from va_search.targets import affect
from va_search.trial_settings import TrialSettings

GRID = "sampler: grid\nseeds: [0, 1]\nfolds: {}\nsettings: {{features: [face], encoder: gru, epochs: 6{}}}\n"
SPLITS = ["train", "train", "train", "validation", "test"]


def write_store(folder: Path, folds: list[int | None], splits: list[str] = SPLITS) -> Store:
    sources = [
        Source(f"r{i}", f"s{i}", f"r{i}", split, fold, 25.0, ())
        for i, (split, fold) in enumerate(zip(splits, folds, strict=True))
    ]
    draft = Draft(
        folder, Description("tiny", affect(-1.0, 1.0), {"face": ("visual", ("a",))}), sources
    )
    for index in range(len(sources)):
        draft.add(index, Part({"face": np.zeros((4, 1))}))
    return draft.finish()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Space]:
    def read(folds: str, settings: str = "", numbers: list[int | None] | None = None) -> Space:
        store = write_store(tmp_path / "store", numbers or [1, 2, 2, 3, None])
        (tmp_path / "space.yaml").write_text(GRID.format(folds, settings))
        return load_space(tmp_path / "space.yaml", store)

    return read


def folds_of(space: Space) -> list[str | int]:
    (configuration,) = space.configurations()
    return [trial.fold for trial in space.trials(configuration) if trial.seed == 0]


def test_all_are_the_stores_folds_with_the_official_one_under_its_name(
    load: Callable[..., Space],
) -> None:
    space = load("all")
    assert space.folds == folds_of(space) == [1, 2, "official"]
    assert space.document["folds"] == "all"
    assert (space.size(), planned_trials(space)) == (1, 6)


def test_all_without_an_official_fold_are_the_numbers(load: Callable[..., Space]) -> None:
    assert folds_of(load("all", numbers=[1, 2, 1, 2, None])) == [1, 2]


def test_the_number_of_the_official_split_is_trained_as_official(
    load: Callable[..., Space],
) -> None:
    space = load("[3, 1]")
    assert folds_of(space) == ["official", 1]
    settings = TrialSettings(features=("face",), encoder="gru", epochs=6)
    assert space.contains(settings)
    assert not space.contains(
        settings.model_copy(update={"fold": 3})
    )  # its id is another one: it would count twice
    assert space.contains(settings.model_copy(update={"fold": 1}))


def test_all_of_a_store_without_folds_says_how_to_make_some(
    load: Callable[..., Space], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load("all", numbers=[None] * 5)
    assert caught.value.problems == [
        f"{tmp_path / 'space.yaml'}:3: folds: {tmp_path / 'store'} has no folds; make some: "
        f"va-search data folds {tmp_path / 'store'} --k 4 --keep-validation"
    ]
    make_folds(
        tmp_path / "store", k=4, keep_validation=True
    )  # 6 would be refused: there are too few people


def test_folds_that_are_the_same_are_a_change_only_where_the_file_says_other(
    load: Callable[..., Space],
) -> None:
    assert load("all").changes(load("all").document) == []
    assert load("all").changes({**load("all").document, "folds": ["official"]}) == [
        "folds was [official], now is all"
    ]


def test_train_val_mix_stands_alone_or_beside_others(load: Callable[..., Space]) -> None:
    assert folds_of(load("[train_val_mix]")) == ["train_val_mix"]
    both = load("[official, train_val_mix]", ", averaged_epochs: [2, 5]")
    (configuration,) = both.configurations()
    trials = both.trials(configuration)
    assert [(one.fold, one.averaged_epochs) for one in trials] == [
        ("official", None), ("official", None), ("train_val_mix", (2, 5)), ("train_val_mix", (2, 5)),
    ]  # fmt: skip
    assert all(both.contains(one) for one in trials)
    assert not both.contains(trials[2].model_copy(update={"averaged_epochs": (3, 5)}))


def test_what_train_val_mix_cant_have_is_no_configuration_of_it(load: Callable[..., Space]) -> None:
    patience = ", patience: {choice: [null, 2]}"
    assert load("[train_val_mix]", patience).size() == 1
    assert load("[official]", patience).size() == 2
    with pytest.raises(
        InputError, match=r"no configuration is valid.*`patience` and schedule plateau need"
    ):
        load("[train_val_mix]", ", patience: 2")


def test_mixed_configurations_differ_by_their_averaged_epochs(load: Callable[..., Space]) -> None:
    assert load("[train_val_mix]", ", averaged_epochs: {choice: [[2, 5], [3, 5]]}").size() == 2
    assert load("[official]", ", averaged_epochs: {choice: [[2, 5], [3, 5]]}").size() == 1


@pytest.mark.parametrize(("trials", "planned"), [(1, 6), (6, 6), (7, 12), (100, 12)])
def test_a_budget_ends_at_whole_configurations(tmp_path: Path, trials: int, planned: int) -> None:
    store = write_store(tmp_path / "store", [1, 2, 2, 3, None])
    text = (
        GRID.format("all", ", hidden_size: {choice: [8, 16]}") + f"budget: {{trials: {trials}}}\n"
    )
    (tmp_path / "space.yaml").write_text(text)
    assert planned_trials(load_space(tmp_path / "space.yaml", store)) == planned


def test_seeds_that_compute_the_same_are_planned_once(load: Callable[..., Space]) -> None:
    families = ", family: {choice: [network, ridge]}"
    # two seeds and three folds: six trials of the network, three of ridge
    space = load("all", families)
    assert (space.size(), planned_trials(space)) == (2, 9)
    meanings: set[str] = set()
    for configuration in space.configurations():
        meanings |= {space.meaning(settings) for settings in space.trials(configuration)}
    assert len(meanings) == 9
