"""Studies and ensembles from Python: tables of trials and members, predictions, files, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world, write_outside
from numpy.testing import assert_allclose

import va_search as va
from va_search.metrics import ccc
from va_search.trial import Epoch


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def study(world: World) -> va.OpenStudy:
    return va.open_study("first", home=world.home.root)


def quiet_build(study: va.OpenStudy, name: str, **more: object) -> va.OpenEnsemble:
    return va.build_ensemble(study, name=name, tracking=False, note=lambda text: None, **more)  # type: ignore[arg-type]


def test_trials_are_a_table_with_a_row_each_the_best_first(
    study: va.OpenStudy, world: World
) -> None:
    trials = study.trials()
    assert list(trials.index[:1]) == [study.best["score"][0]] and len(trials) == 6
    assert trials["score"].is_monotonic_decreasing
    assert set(trials["features"]) == {"face"} and set(trials["encoder"]) == {"lstm", "gru"}
    assert trials.loc["a2", "valence"] == world.bank.trial("first", "a2").ccc("valence")
    assert trials.groupby(["encoder", "head_sizes"])["score"].mean().notna().all()
    assert "6 trials" not in repr(study) and "first" in repr(study)


def test_trials_without_validation_have_no_score(world: World) -> None:
    world.add("mix", "m", seed=1, noise=0.5, ccc=None)
    study = va.open_study("mix", home=world.home.root)
    assert study.trials()["score"].isna().all() and study.best == {}


def test_an_empty_study_has_empty_tables(world: World) -> None:
    folder = world.home.study("empty")
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    study = va.open_study("empty", home=world.home.root)
    assert len(study.trials()) == 0 and study.best == {} and len(study.failures()) == 0


def test_failures_say_why_and_keep_the_traceback(study: va.OpenStudy) -> None:
    settings = {"features": ["face"], "learning_rate": 0.1}
    study.files.record_failure("b0", settings, "Traceback …\nValueError: NaN in epoch 2\n")
    failures = study.failures()
    assert failures.loc["b0", "reason"] == "ValueError: NaN in epoch 2"
    assert failures.loc["b0", "traceback"].startswith("Traceback")
    assert failures.loc["b0", "learning_rate"] == 0.1


def test_predictions_stand_beside_the_annotations(study: va.OpenStudy, world: World) -> None:
    table = study.predictions("a0")
    labelled = table.dropna()
    for dimension in ("valence", "arousal"):
        expected = study.trials().loc["a0", dimension]
        reached = ccc(
            labelled[dimension].to_numpy(), labelled[f"{dimension}_annotation"].to_numpy()
        )
        assert reached == pytest.approx(expected)
    assert list(table["recording"].unique()) == [r.name for r in world.validation]
    assert list(table[table["recording"] == "v2"]["frame"]) == list(range(41))
    test = study.predictions("a0", "test")
    assert len(test) == 33 + 48 and test["valence_annotation"].isna().all()
    with pytest.raises(va.InputError, match="unknown predictions 'train'"):
        study.predictions("a0", "train")
    with pytest.raises(va.InputError, match="unknown trial 'a9'"):
        study.curves("a9")


def test_curves_have_a_row_an_epoch(world: World) -> None:
    rest = ({"valence": 0.1, "arousal": 0.1}, 0.1, 0.001, 1.0, 100.0)
    history = [Epoch(n, 1.0 / n, *rest) for n in (1, 2, 3)]
    world.add("first", "c", seed=9, noise=1.0, history=history)
    curves = va.open_home(world.home.root).study("first").curves("c")
    assert list(curves.index) == [1, 2, 3] and curves.loc[2, "loss"] == 0.5


def test_an_ensemble_has_scores_members_and_weights(study: va.OpenStudy) -> None:
    ensemble = quiet_build(study, "e", recipe="greedy")
    scores = ensemble.scores
    out_of_fold = ensemble.document.scores["out_of_fold"]
    assert out_of_fold is not None
    assert scores.loc[("out_of_fold", "ensemble"), "score"] == out_of_fold["score"]
    assert scores.loc[("out_of_fold", "ensemble"), "score_low"] < out_of_fold["score"]
    assert scores.loc[("in_sample", "best single"), "valence"] > 0
    members = ensemble.members
    assert set(members["dimension"]) == {"valence", "arousal"}
    for weights in ensemble.weights.values():
        assert sum(weights.values()) == pytest.approx(1.0)
        assert set(weights) <= set(study.trials().index)
    assert ensemble.verdict.text and isinstance(ensemble.remarks, list)
    again = va.open_ensemble("e", home=study.home)
    assert again.document == ensemble.document and "ensemble e of first" in repr(again)


def test_a_blends_weights_count_its_shares(study: va.OpenStudy, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("method: best\n")
    (tmp_path / "b.yaml").write_text("method: mean\n")
    blend = tmp_path / "blend.yaml"
    blend.write_text("method: blend\nof: {a: 0.25, b: 0.75}\n")
    ensemble = quiet_build(study, "blended", recipe=str(blend))
    best = study.best["valence"][0]
    weights = ensemble.weights["valence"]
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights[best] == pytest.approx(0.25 + 0.75 / 6)


def test_submit_and_report_write_files(study: va.OpenStudy, tmp_path: Path) -> None:
    ensemble = quiet_build(study, "e", recipe="mean")
    written = ensemble.submit(tmp_path / "out")
    assert sorted(written.files) == ["x1.csv", "x2.csv"] and written.rows == 81
    page = ensemble.report(str(tmp_path / "report"))
    assert page.is_file() and page == study.report(str(tmp_path / "report"), ensemble="e")


def test_recipes_are_compared_and_one_is_advised(study: va.OpenStudy) -> None:
    compared = va.compare_recipes(study)
    table = compared.table()
    assert compared.advised in table.index and compared.candidates == 6
    assert table["score"].is_monotonic_decreasing and compared.verdict


def test_an_explanation_is_kept_beside_the_ensemble(study: va.OpenStudy) -> None:
    ensemble = quiet_build(study, "e", recipe="greedy")
    explained = ensemble.explain()
    assert set(explained) == {"valence", "arousal"}
    folder = study.home.files.ensemble("e").with_suffix("")
    assert (folder / "explain.json").is_file() and (folder / "adds.csv").is_file()


def test_models_from_elsewhere_come_in(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    notes: list[str] = []
    added = va.import_predictions(
        tmp_path / "teams", world.store, study="team", home=world.home.root, note=notes.append
    )
    assert [model.state for model in added] == ["new"]
    assert any("is new in the bank" in note for note in notes)
    study = va.open_study("team", home=world.home.root)
    assert list(study.trials()["source"]) == ["outside"]
    lines_up = world.bank.trial("team", added[0].trial).frames_hash("validation")
    assert lines_up is not None
    values = world.bank.read("team", added[0].trial, "validation", frames_hash=lines_up)
    table = study.predictions(added[0].trial)
    assert_allclose(table["valence"].mean(), np.mean(values[:, 0]), rtol=1e-5)


def test_names_of_a_home_and_wrong_ones(study: va.OpenStudy, world: World) -> None:
    home = va.open_home(world.home.root)
    assert (home.studies, home.ensembles) == (["first"], [])
    quiet_build(study, "e", recipe="mean")
    assert home.ensembles == ["e"] and home.ensemble("e").name == "e"
    with pytest.raises(va.InputError, match="did you mean 'first'") as error:
        home.study("frist")
    assert len(error.value.problems) == 1
    with pytest.raises(va.InputError, match="'e' is an ensemble"):
        va.open_study("e", home=home)
    with pytest.raises(va.InputError, match="'first' is a study, not an ensemble"):
        va.open_ensemble("first", home=home)
    with pytest.raises(va.InputError, match="unknown study 'nope'"):
        va.build_ensemble(["first", "nope"], name="x", home=home)


def test_the_default_home_is_the_variables_or_va_home(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VA_SEARCH_HOME", raising=False)
    assert va.open_home().files.root == Path("va-home")
    monkeypatch.setenv("VA_SEARCH_HOME", str(world.home.root))
    assert va.open_home().studies == ["first"]
    assert va.open_study("first").trials().shape[0] == 6


def test_a_study_that_nothing_searches_is_not_stopped(study: va.OpenStudy, world: World) -> None:
    with pytest.raises(va.InputError, match="unknown study"):
        study.stop()  # it has models from elsewhere only, and was never searched
    assert study.standing().complete == 6
