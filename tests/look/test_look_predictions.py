"""Curves of a page are the bank's bits; the ensemble's are what `submit` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world, write_outside
from folds_world import make_folds_world
from look_world import read_index, read_recording
from numpy.typing import NDArray
from submission_world import make_target_world
from target_world import ONE

from va_search.api.looking import look_at_curves
from va_search.data.readers import read_numbers
from va_search.data.store import Store, frames_hash
from va_search.ensemble.build import build
from va_search.ensemble.outside import add_outside
from va_search.ensemble.over_folds import put_together
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.ensemble.saved import Ensemble, bank_of, predict
from va_search.errors import InputError
from va_search.home import Home
from va_search.look.ensembles import shown_ensemble
from va_search.look.folder import write_look
from va_search.look.predicted import PredictedCurve, shown_folder
from va_search.look.studies import shown_study
from va_search.predictions.bank import Bank
from va_search.submission import submit
from va_search.targets import affect, clipped

FINISHED = {
    "method": "greedy",
    "steps": 10,
    "match": True,
    "smooth": {"kind": "savitzky_golay", "seconds": [0.3]},
    "delay": {"seconds": [0.1]},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, trials=5)


def look_at(home: Home, ensemble: Ensemble, store: Store, out: Path, **more: int) -> Path:
    write_look(shown_ensemble(home, ensemble, store, **more), out)
    return out


def series_of(folder: Path, names: list[str], series: str, target: str) -> NDArray[np.floating]:
    """A series over recordings one after another."""
    documents = [read_recording(folder, name) for name in names]
    return np.concatenate([document["series"][series][target] for document in documents])


def names_of(store: Store, split: str) -> list[str]:
    return [recording.name for recording in store.split(split)]


def test_the_ensembles_curve_is_its_pipelines_and_members_are_the_banks(
    world: World, tmp_path: Path
) -> None:
    ensemble = build(world.home, ["first"], read_recipe("finished", FINISHED), "e", world.store)
    folder = look_at(world.home, ensemble, world.store, tmp_path / "out")
    series = read_index(folder)["series"]
    assert series[0]["kind"] == "ensemble"
    for split in ("validation", "test"):
        recordings = world.store.split(split)
        whole = predict(ensemble, world.bank, split, recordings)
        expected = clipped(whole, world.store.targets)
        for index, target in enumerate(world.store.target_names):
            curve = series_of(folder, names_of(world.store, split), "s0", target)
            assert curve.tobytes() == np.ascontiguousarray(expected[:, index]).tobytes()
            for entry in series[1:]:
                study, _, trial = entry["title"].partition("/")
                lines_up = frames_hash(recordings)
                column = world.bank.column(study, trial, split, target, frames_hash=lines_up)
                values = series_of(folder, names_of(world.store, split), entry["id"], target)
                assert values.dtype == np.float32
                assert values.tobytes() == column.tobytes()


def test_the_page_shows_what_submit_writes(world: World, tmp_path: Path) -> None:
    ensemble = build(world.home, ["first"], load_recipe("bagged_greedy"), "e", world.store)
    folder = look_at(world.home, ensemble, world.store, tmp_path / "out")
    submit(ensemble, world.store, world.bank, format="recordings", out=tmp_path / "submission")
    for name in names_of(world.store, "test"):
        written = read_numbers(tmp_path / "submission" / f"{name}.csv", world.store.target_names)
        shown = read_recording(folder, name)["series"]["s0"]
        for index, target in enumerate(world.store.target_names):
            assert [f"{value:.6f}" for value in shown[target]] == [
                f"{value:.6f}" for value in written[:, index]
            ]
        keys = read_recording(folder, name)["keys"]
        lines = (tmp_path / "submission" / f"{name}.csv").read_text().splitlines()
        assert [line.split(",")[0] for line in lines[1:]] == keys
    assert read_index(folder)["time_column"] == "time"
    assert "what va-search submit writes" in read_index(folder)["scores_are"]
    assert "in-sample" in read_index(folder)["scores_are"]


def test_members_come_by_weight_and_no_more_than_asked_for(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "models" / "theirs", world, seed=3, rows="all")
    add_outside(world.bank, "first", tmp_path / "models", world.store)
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    shown = shown_ensemble(world.home, ensemble, world.store)
    assert len(shown.series) == 7
    outside = [series for series in shown.series if series.kind == "outside"]
    assert [series.title for series in outside] == ["first/outside-theirs"]
    assert outside[0].detail == "model from elsewhere"
    assert shown.series[1].weights == pytest.approx({"valence": 1 / 6, "arousal": 1 / 6})
    few = shown_ensemble(world.home, ensemble, world.store, members=2)
    assert len(few.series) == 3
    assert few.remarks == ("4 members with less weight are not shown; see --members",)
    assert few.curves(0).series[0]["valence"].tobytes() == (
        shown.curves(0).series[0]["valence"].tobytes()
    ), "all members are in the ensemble's curve"


def test_models_from_elsewhere_are_shown_without_weight_too(world: World, tmp_path: Path) -> None:
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    write_outside(tmp_path / "models" / "theirs", world, seed=3, rows="all")
    for recording in world.store.split("test"):
        (tmp_path / "models" / "theirs" / f"{recording.name}.csv").unlink()
    add_outside(world.bank, "first", tmp_path / "models", world.store)
    shown = shown_ensemble(world.home, ensemble, world.store, members=2)
    theirs = shown.series[3]
    assert (theirs.title, theirs.kind, theirs.weights) == ("first/outside-theirs", "outside", None)
    validation, test = shown.curves(0), shown.curves(len(shown.recordings) - 1)
    lines_up = frames_hash(world.validation)
    column = world.bank.column(
        "first", "outside-theirs", "validation", "valence", frames_hash=lines_up
    )
    assert validation.series[3]["valence"].tobytes() == column[:60].tobytes()
    assert 3 not in test.series, "it predicts no test recording"


def test_one_split_alone(world: World) -> None:
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    for split in ("validation", "test"):
        shown = shown_ensemble(world.home, ensemble, world.store, split=split)
        assert {recording.split for recording in shown.recordings} == {split}
        assert [each.name for each in shown.recordings] == names_of(world.store, split)


def test_damaged_predictions_are_told(world: World) -> None:
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    path = world.bank.folder("first", "a1") / "validation.arrow"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"a1/validation\.arrow"):
        shown_ensemble(world.home, ensemble, world.store)


def test_over_folds_every_labelled_recording_is_shown_by_the_fold_that_validated_it(
    tmp_path: Path,
) -> None:
    world = make_folds_world(tmp_path, complete=3)
    ensemble = build(world.home, ["first"], load_recipe("over_folds"), "e", world.store)
    folder = look_at(world.home, ensemble, world.store, tmp_path / "out")
    index = read_index(folder)
    splits = {entry["name"]: entry["split"] for entry in index["recordings"]}
    assert splits["p0_a"] == "fold 0" and splits["x0"] == "test"
    names = [recording.name for recording in world.store.labelled]
    whole = predict(ensemble, world.bank, "validation", world.store.labelled)
    curve = series_of(folder, names, "s0", "arousal")
    assert curve.tobytes() == np.ascontiguousarray(clipped(whole, ensemble.targets)[:, 1]).tobytes()
    member = index["series"][1]
    study, _, trial = member["title"].partition("/")
    lines_up = frames_hash(world.store.labelled)
    column = bank_of(ensemble, world.bank).column(
        study, trial, "validation", "arousal", frames_hash=lines_up
    )
    assert series_of(folder, names, member["id"], "arousal").tobytes() == column.tobytes()


def test_a_blend_has_the_members_of_its_parts(tmp_path: Path) -> None:
    world = make_folds_world(tmp_path)
    for number in range(2):
        world.train("first", 5 + number, ("train_val_mix",))
    ensemble = build(
        world.home, ["first"], load_recipe("paper/ensemble_3"), "e", world.store, force=True
    )
    shown = shown_ensemble(world.home, ensemble, world.store)
    assert {recording.split for recording in shown.recordings} == {"test"}
    assert "scored on validation" in shown.scores_are
    assert any("no validation recordings" in remark for remark in shown.remarks)
    test = world.store.split("test")
    whole = clipped(predict(ensemble, world.bank, "test", test), ensemble.targets)
    first = shown.curves(0).series[0]["valence"]
    assert first.tobytes() == np.ascontiguousarray(whole[: test[0].frames, 0]).tobytes()


def test_other_targets_than_valence_and_arousal(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, ONE)
    folder = look_at(world.home, world.build(), world.store, tmp_path / "out")
    index = read_index(folder)
    assert [target["name"] for target in index["targets"]] == ["engagement"]
    assert index["recordings"][0]["scores"].keys() == {"engagement"}
    document = read_recording(folder, "r4")
    assert document["series"]["s1"].keys() == {"engagement"}


def test_a_studys_best_trials_come_by_score_or_by_a_target(world: World) -> None:
    shown = shown_study(world.bank, "first", world.store)
    scores = [world.bank.trial(*series.title.split("/")).score for series in shown.series]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    by_arousal = shown_study(world.bank, "first", world.store, by="arousal", members=2)
    cccs = [world.bank.trial(*each.title.split("/")).ccc("arousal") for each in by_arousal.series]
    everything = [trial.ccc("arousal") for trial in world.bank.each_trial("first")]
    assert cccs == sorted(everything, reverse=True)[:2]  # type: ignore[type-var]
    best = shown.series[0].title.split("/")[1]
    lines_up = frames_hash(world.validation)
    column = world.bank.column("first", best, "validation", "valence", frames_hash=lines_up)
    assert shown.recordings[0].name == "v1"
    assert shown.curves(0).series[0]["valence"].tobytes() == column[:60].tobytes()
    with pytest.raises(InputError, match="unknown target 'valenc'; did you mean 'valence'"):
        shown_study(world.bank, "first", world.store, by="valenc")


def test_a_study_over_folds_shows_configurations(tmp_path: Path) -> None:
    world = make_folds_world(tmp_path, complete=2, mixed=0)
    world.train("first", 4, (0,))
    shown = shown_study(world.bank, "first", world.store)
    names = [recording.name for recording in shown.recordings]
    assert names == [recording.name for recording in world.store.recordings]
    assert sum("and 3 on other folds" in series.title for series in shown.series) == 2
    # as configurations over folds have them
    together = put_together(world.home, ["first"], world.store)
    (entry, *_) = sorted(together.entries, key=lambda entry: -(entry.score or 0.0))
    titles = [series.title for series in shown.series]
    trials = set((entry.trials or {}).values())
    (number,) = [i for i, title in enumerate(titles) if title.split()[0].split("/")[1] in trials]
    configurations = Bank(world.home.configurations)
    for split, recordings in (
        ("validation", world.store.labelled),
        ("test", world.store.split("test")),
    ):
        column = configurations.column(
            "first", entry.id, split, "valence", frames_hash=frames_hash(recordings)
        )
        parts = []
        for recording in recordings:
            parts.append(shown.curves(names.index(recording.name)).series[number]["valence"])
        assert np.concatenate(parts).tobytes() == column.tobytes()
    single = [i for i, title in enumerate(titles) if "other folds" not in title]
    assert single == [2], "on one fold of four, it comes last"
    in_fold_1 = next(r.name for r in world.store.labelled if r.fold == 1)
    assert single[0] not in shown.curves(names.index(in_fold_1)).series


def test_a_folder_of_predictions_is_shown_beside_its_store(world: World, tmp_path: Path) -> None:
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    out = tmp_path / "submission"
    submit(ensemble, world.store, world.bank, format="recordings", out=out)
    shown = shown_folder(out, world.store)
    assert [recording.name for recording in shown.recordings] == names_of(world.store, "test")
    written = read_numbers(out / "x1.csv", ("valence", "arousal"))
    assert shown.curves(0).series[0]["arousal"].tolist() == written[:, 1].tolist()
    (out / "x1.csv").write_text("time,valence,arousal\n0,5,5\n")
    with pytest.raises(InputError, match=r"x1\.csv changed since"):
        shown_folder(out, world.store)


def test_files_from_elsewhere_must_fit_their_recordings(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    with pytest.raises(InputError, match=r"no <recording>\.csv of any recording"):
        shown_folder(folder, world.store)
    rows = "\n".join(f"{frame / 10}" for frame in range(60))
    (folder / "v1.csv").write_text(f"arousal\n{rows}\n")
    shown = shown_folder(folder, world.store)
    assert [target.name for target in shown.targets] == ["arousal"]
    assert shown.recordings[0].split == "validation"
    (folder / "v2.csv").write_text("arousal\n1\n2\n")
    (folder / "v3.csv").write_text("arousal\n1\n2\n3\n")
    with pytest.raises(InputError, match=r"v2\.csv: 2 rows, expected 41(.|\n)*v3\.csv: 3 rows"):
        shown_folder(folder, world.store)


def test_predictions_of_targets_that_the_store_does_not_declare(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    rows = "\n".join(f"{frame}" for frame in range(60))
    (folder / "v1.csv").write_text(f"engagement\n{rows}\n")
    with pytest.raises(InputError, match="no column valence or arousal"):
        shown_folder(folder, world.store)
    shown = shown_folder(folder, world.store, targets=ONE)
    assert shown.targets == ONE
    assert shown.curves(0).series[0]["engagement"].tolist() == list(map(float, range(60)))


def test_curves_without_a_store(tmp_path: Path) -> None:
    seconds = np.arange(50) * 1001 / 24000
    values = np.linspace(-1, 1, 50).astype(np.float32)
    curve = PredictedCurve("my video", seconds, {"valence": values, "arousal": -values})
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "my video.mp4").write_bytes(b"")
    look = look_at_curves(
        [curve], affect(-1, 1), tmp_path / "out", title="e", media=tmp_path / "videos"
    )
    (entry,) = read_index(look.folder)["recordings"]
    assert entry["media"] == "../videos/my%20video.mp4"
    assert entry["scores"] == {}
    document = read_recording(look.folder, "my video")
    assert document["series"]["s0"]["valence"].tobytes() == values.tobytes()
    assert document["rate"] == pytest.approx(24000 / 1001)
