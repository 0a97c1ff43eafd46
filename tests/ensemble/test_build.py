"""From bank to saved ensemble: scores, what is left out, the same name again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from ensemble_world import World, make_world
from trial_world import forget_seal

from va_search.data.store import Recording, Store, frames_hash
from va_search.ensemble.build import build
from va_search.ensemble.post_processing import PostProcessing
from va_search.ensemble.recipe import Recipe, read_recipe
from va_search.ensemble.saved import known_ensembles, read_ensemble
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.predictions.bank import Predictions
from va_search.submission import predict
from va_search.trial import Best

GREEDY = read_recipe("greedy", {"method": "greedy", "steps": 20})
MEAN = read_recipe("mean", {"method": "mean"})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def test_scores_are_those_of_the_weighted_predictions(world: World) -> None:
    built = build(world.home, ["first"], GREEDY, "e")
    for index, dimension in enumerate(("valence", "arousal")):
        part = built.dimensions[dimension]
        assert sum(member.weight for member in part.members) == pytest.approx(1.0)
        columns = [
            world.bank.column(
                m.study, m.trial, "validation", dimension, frames_hash=built.frames_hash
            )
            for m in part.members
        ]
        total = sum(
            m.weight * column.astype(np.float64)
            for m, column in zip(part.members, columns, strict=True)
        )
        truth = world.labels[:, index]
        assert part.scores.in_sample == pytest.approx(ccc(np.asarray(total), truth), abs=1e-9)
        assert [m.ccc for m in part.members] == pytest.approx(
            [ccc(column, truth) for column in columns], abs=1e-9
        )
        assert part.best_single.trial == best_trial(world, dimension)
        assert part.scores.in_sample > part.best_single.scores.in_sample
        assert (
            part.scores.out_of_fold is not None and part.scores.out_of_fold < part.scores.in_sample
        )
        weights = [member.weight for member in part.members]
        assert weights == sorted(weights, reverse=True)
    for measured in ("in_sample", "out_of_fold"):
        both = built.scores[measured]
        assert both is not None and both["score"] == (both["valence"] + both["arousal"]) / 2
    assert (built.measured_on.fold, built.measured_on.recordings, built.measured_on.folds) == (
        "official",
        6,
        4,
    )
    assert built.measured_on.labelled_frames == int((~np.isnan(world.labels[:, 0])).sum())
    assert built.store == str(world.store.path.resolve()) and built.candidates == 6


def best_trial(world: World, dimension: str) -> str:
    trials = world.bank.each_trial("first")
    return max(trials, key=lambda trial: trial.best[dimension].ccc).id


def test_it_is_saved_whole_and_read_back(world: World) -> None:
    built = build(world.home, ["first"], GREEDY, "e")
    assert read_ensemble(world.home, "e") == built
    assert known_ensembles(world.home) == ["e"]
    for member in built.dimensions["valence"].members:
        encoder = ("lstm", "gru")[int(member.trial[1:]) % 2]
        assert (member.source, member.encoder, member.fusion) == ("trained", encoder, "early")
        assert (member.features, member.seed) == (["face"], int(member.trial[1:]))


FINISHED = {
    "method": "greedy",
    "steps": 10,
    "shrink": "auto",
    "match": True,
    "smooth": {"seconds": [0, 0.2, 0.5]},
    "delay": {"seconds": [0.1]},
    "prune": {"top": 4},
}


def test_what_is_saved_gives_the_in_sample_score_again(world: World) -> None:
    """Weights and post-processing as saved, applied frame by frame to what the bank holds."""
    build(world.home, ["first"], read_recipe("finished", FINISHED), "e")
    saved = read_ensemble(world.home, "e")
    found = predict(saved, world.bank, "validation", world.validation)
    for index, (dimension, part) in enumerate(saved.dimensions.items()):
        assert part.post.delay_seconds == 0.1 and part.post.scale != 1.0 and len(part.members) <= 4
        assert ccc(found[:, index], world.labels[:, index]) == pytest.approx(
            part.scores.in_sample, abs=1e-9
        )
        interval = part.scores.interval
        assert interval is not None and saved.intervals is not None
        assert (
            saved.intervals["ensemble"] is not None
            and saved.intervals["ensemble"][dimension] == interval
        )
        assert interval[0] < part.scores.out_of_fold < interval[1]  # type: ignore[operator]
        assert part.per_recording is not None and part.per_recording.recordings == 6
        assert all(member.gain is not None for member in part.members)
    assert predict(saved, world.bank, "test", world.store.split("test")).shape == (81, 2)


def test_a_file_from_before_post_processing_still_loads(world: World) -> None:
    build(world.home, ["first"], GREEDY, "e")
    path = world.home.ensemble("e")
    document = json.loads(path.read_text())
    del document["seal"], document["member_seals"]
    del document["intervals"], document["measured_on"]["groups"], document["estimate"]
    for part in document["dimensions"].values():
        for key in ("post", "shrink", "takes", "per_recording"):
            del part[key]
        for scores in (part["scores"], part["best_single"]["scores"]):
            del scores["interval"]
        for member in part["members"]:
            del member["gain"]
    path.write_text(json.dumps(document))
    assert read_ensemble(world.home, "e").dimensions["valence"].post == PostProcessing()


def test_mean_has_the_same_score_out_of_fold(world: World) -> None:
    built = build(world.home, ["first"], MEAN, "m")
    assert len(built.dimensions["valence"].members) == 6
    scores = built.dimensions["valence"].scores
    assert scores.out_of_fold == pytest.approx(scores.in_sample, abs=1e-12)  # nothing was chosen


def test_several_studies_each_trial_once(world: World) -> None:
    world.add("second", "b0", seed=50, noise=0.7)
    world.bank.adopt("second", "a0", source="first")
    built = build(world.home, ["first", "second", "first"], MEAN, "m")
    assert {(m.study, m.trial) for m in built.dimensions["arousal"].members} >= {
        ("second", "b0"),
        ("first", "a0"),
    }
    assert built.candidates == 7
    assert built.left_out == {"same trial in two of the studies, counted once": 1}


def test_trials_of_other_folds_are_left_out_and_counted(world: World) -> None:
    predictions = world.predict(9, 1.0)
    fold = world.store.fold(0).validation
    trial = world.bank.trial("first", "a0")
    world.bank.write(replace(trial, id="z0"), {**predictions, "validation": _other(fold)})
    del predictions["test"]
    world.bank.write(replace(trial, id="z1"), predictions)
    built = build(world.home, ["first"], MEAN, "m")
    assert built.candidates == 6
    assert built.left_out == {
        "validated on fold 0": 1,
        "no predictions of this store's test recordings": 1,
    }


def test_trials_on_data_that_changed_are_told(world: World) -> None:
    assert build(world.home, ["first"], MEAN, "m").notes == []
    world.add("second", "b0", seed=50, noise=0.7, data_hash="that of the day before")
    world.add(
        "second",
        "b1",
        seed=51,
        noise=0.7,
        source="outside",
        settings=None,
        data_hash="that of the day before",
    )
    built = build(world.home, ["first", "second"], MEAN, "n")
    assert (built.candidates, built.left_out) == (8, {})
    assert built.notes == ["1 of 8 candidates: trained on data that changed since"]


def _other(recordings: tuple[Recording, ...]) -> Predictions:
    frames = sum(recording.frames for recording in recordings)
    return Predictions(np.zeros((frames, 2), np.float32), frames_hash(recordings))


def test_the_fold_with_most_trials_is_judged_on(world: World) -> None:
    trial = world.bank.trial("first", "a0")
    fold = world.store.fold(0).validation
    rng = np.random.default_rng(0)
    for index in range(7):
        other = _other(fold)
        other.values[:] = 5 + rng.normal(size=other.values.shape)
        world.bank.write(
            replace(trial, id=f"z{index}"), {**world.predict(index, 1.0), "validation": other}
        )
    built = build(world.home, ["first"], MEAN, "m")
    assert (built.measured_on.fold, built.candidates) == (0, 7)
    assert built.left_out == {"validated on fold official": 6}


def test_nothing_that_lines_up_is_an_error(world: World) -> None:
    world.bank.write(
        replace(world.bank.trial("first", "a0"), study="other", id="z0"),
        {"validation": _other(world.store.split("test"))},
    )
    with pytest.raises(
        InputError,
        match=r"no trial's predictions line up.*1 left out: validated on other recordings",
    ):
        build(world.home, ["other"], MEAN, "m")
    assert known_ensembles(world.home) == []


def test_unknown_studies_answer_with_the_known_ones(world: World) -> None:
    with pytest.raises(InputError) as error:
        build(world.home, ["fist", "first", "third"], GREEDY, "e")
    assert len(error.value.problems) == 2
    assert all("known: first" in problem for problem in error.value.problems)
    assert "did you mean 'first'?" in error.value.problems[0]


def test_the_same_again_takes_new_trials_in(world: World) -> None:
    build(world.home, ["first"], GREEDY, "e")
    world.add("first", "b9", seed=77, noise=0.2)
    again = build(world.home, ["first"], GREEDY, "e")
    assert again.candidates == 7 and "replaces the ensemble 'e'" in again.notes[0]
    assert again.dimensions["valence"].best_single.trial == "b9"


def test_another_recipe_under_a_name_needs_force(world: World) -> None:
    before = build(world.home, ["first"], GREEDY, "e")
    with pytest.raises(
        InputError, match=r"ensemble 'e' exists, of recipe greedy and studies first.*--force"
    ):
        build(world.home, ["first"], MEAN, "e")
    assert read_ensemble(world.home, "e") == before
    assert build(world.home, ["first"], MEAN, "e", force=True).recipe == "mean"


def test_a_damaged_file_is_said_and_replaced_with_force(world: World) -> None:
    build(world.home, ["first"], GREEDY, "e")
    path = world.home.ensemble("e")
    for text in (path.read_text()[:300], '{"name": "e"}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"e\.json"):
            read_ensemble(world.home, "e")
        with pytest.raises(InputError, match="--force replaces it"):
            build(world.home, ["first"], GREEDY, "e")
    assert build(world.home, ["first"], GREEDY, "e", force=True).candidates == 6


def test_names_that_are_no_file_names_are_refused(world: World) -> None:
    for name in ("../e", "", "a b"):
        with pytest.raises(InputError, match="ensemble name"):
            build(world.home, ["first"], GREEDY, name)
    with pytest.raises(InputError, match="unknown study"):
        build(world.home, ["../first"], GREEDY, "e")


def test_a_store_that_moved_is_asked_for(world: World, tmp_path: Path) -> None:
    world.store.path.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="not there any more; say where with --data"):
        build(world.home, ["first"], GREEDY, "e")
    built = build(world.home, ["first"], GREEDY, "e", Store.open(tmp_path / "moved"))
    assert built.store == str(tmp_path / "moved") and built.notes == []


def test_trials_of_two_stores_need_data(world: World) -> None:
    world.add("first", "c0", seed=5, noise=1.0, store_path=str(world.store.path / "x"))
    with pytest.raises(
        InputError,
        match=r"made on 2 stores: .*\(6 trials\), .*\(1 trial\); .* say with --data STORE",
    ):
        build(world.home, ["first"], GREEDY, "e")
    assert build(world.home, ["first"], GREEDY, "e", world.store).candidates == 7


def test_annotations_that_changed_are_told(world: World) -> None:
    trial = world.bank.trial("first", "a2")
    best = {**trial.best, "valence": Best(trial.best["valence"].ccc + 0.2)}
    world.bank.write(replace(trial, best=best), world.predict(2, 1.1))
    notes = build(world.home, ["first"], GREEDY, "e").notes
    assert len(notes) == 1 and "first/a2: its record says valence" in notes[0]


def test_no_labels_or_constant_labels_are_errors(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant = world.store.annotations.copy()
    constant[~np.isnan(constant[:, 1]), 1] = 3.0
    for labels, said in (
        (constant, "arousal has the same value"),
        (constant * np.nan, "no labelled frame"),
    ):
        store = Store(**{f: getattr(world.store, f) for f in Store.__dataclass_fields__})
        store.__dict__["annotations"] = labels  # the cached property's value
        with pytest.raises(InputError, match=said):
            build(world.home, ["first"], GREEDY, "e", store)


def test_nan_in_the_bank_is_left_out_by_name(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    path = world.bank.folder("first", "a3") / "validation.arrow"
    with pa.ipc.open_file(path) as reader:
        table = reader.read_all()
    valence = table.column("valence").to_numpy().copy()
    valence[30] = np.nan
    table = table.set_column(0, "valence", pa.array(valence, from_pandas=False))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    # As a trial from before there were seals, whose files were never hashed.
    forget_seal(world.bank.folder("first", "a3") / "trial.json")
    assert_left_out(world, caplog, r"a3/validation\.arrow: damaged \(valence is NaN or infinite")


def assert_left_out(world: World, caplog: pytest.LogCaptureFixture, warning: str) -> None:
    """Build without trial a3, which a warning names; nothing else is affected."""
    built = build(world.home, ["first"], GREEDY, "e")
    assert built.left_out == {"damaged record (see the warning)": 1}
    members = [member.trial for part in built.dimensions.values() for member in part.members]
    assert members and "a3" not in members
    assert re.search(warning, caplog.text), caplog.text


def test_a_cut_prediction_file_is_left_out_by_name(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    path = world.bank.folder("first", "a3") / "validation.arrow"
    path.write_bytes(path.read_bytes()[:-40])
    assert_left_out(world, caplog, r"a3/validation\.arrow: damaged \(\d+ bytes, expected \d+")


def test_one_subject_gives_in_sample_only_and_says_so(world: World, tmp_path: Path) -> None:
    one = make_one_subject(tmp_path / "one")
    built = build(one.home, ["first"], GREEDY, "e")
    assert built.scores["out_of_fold"] is None
    assert built.dimensions["valence"].scores.out_of_fold is None
    assert built.measured_on.folds == 0 and "one subject" in str(built.measured_on.reason)
    assert built.intervals is None and built.dimensions["valence"].per_recording is None
    tuned = build(one.home, ["first"], read_recipe("finished", FINISHED), "f").dimensions["valence"]
    assert (tuned.shrink, tuned.post.window_seconds, tuned.scores.interval) == (
        0.5,
        0.0,
        None,
    )  # the first of each list


def make_one_subject(folder: Path) -> World:
    import ensemble_world

    rows = tuple(
        (name, "s", video, split, fold, n) for name, _, video, split, fold, n in ensemble_world.ROWS
    )
    original, ensemble_world.ROWS = ensemble_world.ROWS, rows
    try:
        return make_world(folder, trials=2)
    finally:
        ensemble_world.ROWS = original


def test_a_recipe_may_leave_outside_models_out(world: World) -> None:
    own_best = best_trial(world, "valence")
    world.add("first", "outside-x", seed=9, noise=0.1, source="outside", settings=None, content="c")
    recipe: Recipe = read_recipe("own", {"method": "best", "members": {"outside": False}})
    built = build(world.home, ["first"], recipe, "own")
    assert built.dimensions["valence"].members[0].trial == own_best
    assert built.left_out == {"outside model, and the recipe says `outside: false`": 1}
    everyone = build(world.home, ["first"], read_recipe("all", {"method": "best"}), "all")
    assert everyone.dimensions["valence"].members[0].trial == "outside-x"
    with pytest.raises(InputError, match="no member left"):
        world.add(
            "teams", "outside-x", seed=9, noise=0.1, source="outside", settings=None, content="c"
        )
        build(world.home, ["teams"], recipe, "none")
