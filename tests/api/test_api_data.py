"""Stores from Python, and searches up to where Ray would start."""

from __future__ import annotations

from pathlib import Path

import pytest

import va_search as va
from va_search.api import data
from va_search.files import shipped, written_or_shipped

SPACE = {
    "sampler": "random",
    "budget": {"trials": 2},
    "settings": {"features": ["face"], "encoder": "gru", "learning_rate": {"choice": [0.01, 0.02]}},
}


def test_a_simulated_store_opens_again_by_its_path(tmp_path: Path) -> None:
    notes: list[str] = []
    store = va.simulate(str(tmp_path / "store"), size="tiny", note=notes.append)
    assert va.open_store(str(store.path)).name == store.name
    assert va.open_store(store) is store
    report = va.check_store(store.path)
    assert report.count("error") == 0
    with pytest.raises(va.InputError, match="not a store"):
        va.open_store(tmp_path)


def test_the_first_opening_of_a_large_store_shows_that_it_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = va.simulate(tmp_path / "store", size="tiny", note=lambda text: None)
    lines: list[str] = []
    for shown_from in (1 << 28, 0):
        monkeypatch.setattr(data, "SHOWN_FROM", shown_from)
        va.open_store(store.path)
        lines.append(capsys.readouterr().err)
    assert lines[0] == ""
    assert lines[1].startswith(f"{store.path}: verified 0.0 of 0.0 GiB\n")


def test_folds_are_made_by_store_or_path(tmp_path: Path) -> None:
    store = va.simulate(tmp_path / "store", size="tiny", note=lambda text: None)
    with pytest.raises(va.InputError):
        va.make_folds(store, k=2)  # the simulated source has folds of its own
    with pytest.raises(va.InputError):
        va.make_folds(str(store.path), k=2)


def test_importing_names_all_problems(tmp_path: Path) -> None:
    with pytest.raises(va.InputError, match="expected a folder with dataset"):
        va.import_table(str(tmp_path / "nothing"), str(tmp_path / "store"))
    with pytest.raises(va.InputError):
        va.import_affwild2(str(tmp_path), str(tmp_path / "store"), visual=str(tmp_path))


def test_a_space_may_be_a_dict_a_file_or_one_that_is_shipped(
    tiny_store: va.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = va.load_space(SPACE, tiny_store)
    assert va.load_space(space, tiny_store) is space
    assert va.load_space("any", tiny_store).sampler == "tpe"
    assert va.load_space("search_spaces/any.yaml", tiny_store).name == "any"
    with pytest.raises(va.InputError, match="learning_rat"):
        va.load_space({"sampler": "random", "settings": {"learning_rat": 1}}, tiny_store)
    with pytest.raises(va.InputError, match=r"none\.yaml"):
        va.load_space("none.yaml", tiny_store)


def test_a_preview_trains_and_writes_nothing(tiny_store: va.Store, tmp_path: Path) -> None:
    preview = va.preview_search(SPACE, tiny_store, study="s", home=tmp_path / "home")
    assert len(preview.next) == preview.to_train == 2
    assert not (tmp_path / "home").exists()


def test_a_search_refuses_before_anything_begins(tiny_store: va.Store, tmp_path: Path) -> None:
    options = va.Options(gpus_per_trial=1.5)
    with pytest.raises(va.InputError, match="gpus-per-trial") as error:
        va.run_search(SPACE, tiny_store, study="s", home=tmp_path / "home", options=options)
    assert error.value.problems and not (tmp_path / "home").exists()


def test_shipped_files_are_found_by_name_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped("ensembles/greedy.yaml").is_file()
    assert written_or_shipped(Path("paper"), "feature_recipes").name == "paper.yaml"
    Path("search_spaces").mkdir()
    own = Path("search_spaces/any.yaml")
    own.write_text("mine")
    assert written_or_shipped(own, "search_spaces") == own, "one's own file comes first"
    for nothing in ("nothing.yaml", "../search_spaces/demo.yaml"):
        assert written_or_shipped(Path(nothing), "search_spaces") == Path(nothing)
    with pytest.raises(va.InputError, match="comes with va-search"):
        shipped("search_spaces/nothing.yaml")
