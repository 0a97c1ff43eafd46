"""Configurations over folds: each recording from the trial that did not train on it, whole or not
there at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folds_world import FOLDS, FoldsWorld, make_folds_world, make_store

from va_search.data.store import MIX, frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.material import gather
from va_search.ensemble.over_folds import put_together
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.predictions.bank import Predictions
from va_search.submission import predict, submit
from va_search.targets import AFFECT

GREEDY = read_recipe("greedy", {"method": "greedy", "steps": 20, "members": {"folds": "all"}})


@pytest.fixture
def world(tmp_path: Path) -> FoldsWorld:
    return make_folds_world(tmp_path)


def test_the_store_is_as_case_is(world: FoldsWorld) -> None:
    assert (world.store.fold_numbers, world.store.official_fold) == ([0, 1, 2, 3], 3)


def test_every_labelled_recording_is_from_the_trial_that_did_not_train_on_it(
    world: FoldsWorld,
) -> None:
    together = put_together(world.home, ["first"], world.store)
    assert (len(together.entries), together.made, together.left_out) == (3, 3, {})
    labelled, test = world.store.labelled, world.store.split("test")
    for entry in together.entries:
        bank = world.configurations
        assert entry.source == "folds" and entry.fold == "all"
        assert list(entry.trials) == ["0", "1", "2", "3"]
        values = bank.read("first", entry.id, "validation", frames_hash=frames_hash(labelled))
        start = 0
        for recording in labelled:
            fold = world.store.fold(recording.fold)  # type: ignore[arg-type]
            assert recording not in fold.train
            own = world.bank.read(
                "first",
                entry.trials[str(recording.fold)],
                "validation",
                frames_hash=frames_hash(fold.validation),
            )
            before = sum(one.frames for one in fold.validation[: fold.validation.index(recording)])
            np.testing.assert_array_equal(
                values[start : start + recording.frames], own[before : before + recording.frames]
            )
            start += recording.frames
        tests = [
            world.bank.read("first", t, "test", frames_hash=frames_hash(test))
            for t in entry.trials.values()
        ]
        np.testing.assert_allclose(
            bank.read("first", entry.id, "test", frames_hash=frames_hash(test)),
            np.mean(np.array(tests, dtype=np.float64), axis=0),
            atol=1e-6,
        )
        labels = world.store.annotations[positions(labelled)]
        assert entry.ccc("valence") == pytest.approx(ccc(values[:, 0], labels[:, 0]))
        pair = [entry.ccc(d) for d in ("valence", "arousal")]
        assert entry.score == pytest.approx(sum(pair) / 2)


def test_what_is_not_complete_is_counted_and_named(world: FoldsWorld) -> None:
    world.train("first", 7, (0, 1, 2))
    world.train("first", 8, (0, 1, 2))
    world.train("first", 9, (1, "official"))
    world.train("first", 3, (MIX,))
    trial = world.bank.trial("first", world.bank.trials("first")[0])
    outside = replace(trial, id="outside-x", source="outside", settings=None, settings_json=None)
    validation = world.store.split("validation")
    world.bank.write(outside, {"validation": world.predicted(validation, [5], 1.0)})
    together = put_together(world.home, ["first"], world.store)
    assert len(together.entries) == 3
    assert together.left_out == {
        "configuration not trained on fold 3 (use folds: all)": 6,
        "configuration not trained on folds 0 and 2 (use folds: all)": 2,
        "model from elsewhere, which covers one fold only": 1,
        "trained on train_val_mix, which leaves nothing to validate on": 1,
    }


def test_nothing_is_made_twice_and_what_changed_is_made_anew(world: FoldsWorld) -> None:
    first = put_together(world.home, ["first"], world.store)
    kept = {
        one.id: (world.configurations.folder("first", one.id) / "validation.arrow").stat()
        for one in first.entries
    }
    assert put_together(world.home, ["first"], world.store).made == 0
    os.link(
        *(
            world.bank.folder("first", world.bank.trials("first")[0]) / name
            for name in ("test.arrow", "link")
        )
    )
    assert (
        put_together(world.home, ["first"], world.store).made == 0
    )  # a study that adopts a trial changes nothing
    world.train("first", 1, (2,), again=1)
    again = put_together(world.home, ["first"], world.store)
    assert again.made == 1
    changed = [
        one.id
        for one in again.entries
        if (world.configurations.folder("first", one.id) / "validation.arrow").stat()
        != kept[one.id]
    ]
    assert len(changed) == 1


def test_the_same_number_or_official_is_the_same_fold(world: FoldsWorld) -> None:
    world.train("numbers", 0, (0, 1, 2, 3))
    assert len(put_together(world.home, ["numbers"], world.store).entries) == 1


def test_a_configuration_in_two_studies_is_one_candidate(world: FoldsWorld) -> None:
    for fold in FOLDS:
        trial = world.train("first", 0, (fold,))[fold]
        world.bank.adopt("second", trial, source="first")
    together = put_together(world.home, ["first", "second"], world.store)
    assert len(together.entries) == 3
    assert together.left_out == {"same configuration in two of the studies, counted once": 1}
    assert len(world.configurations.trials("second")) == 1  # an entry of both


def test_what_is_not_complete_any_more_is_taken_away(world: FoldsWorld) -> None:
    put_together(world.home, ["first"], world.store)
    trial = world.train("first", 0, (1,))[1]
    shutil.rmtree(world.bank.folder("first", trial))
    together = put_together(world.home, ["first"], world.store)
    assert len(together.entries) == 2 == len(list((world.home.configurations / "first").iterdir()))


def test_a_kill_in_between_leaves_nothing_that_looks_whole(world: FoldsWorld) -> None:
    program = f"""
import time
from pathlib import Path
from va_search.data.store import Store
from va_search.ensemble.over_folds import put_together
from va_search.home import Home
from va_search.predictions import records
honest = records.write_json
def slow(*given):
    print("one", flush=True)
    time.sleep(30)
records.write_json = slow
put_together(Home(Path({str(world.home.root)!r})), ["first"], Store.open(Path({str(world.store.path)!r})))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "one\n"
        os.kill(process.pid, signal.SIGKILL)
    assert list(world.home.configurations.glob("first/*/validation.arrow"))
    assert world.configurations.studies() == []
    assert put_together(world.home, ["first"], world.store).made == 3


def test_a_store_without_folds_and_unknown_studies_are_refused(
    world: FoldsWorld, tmp_path: Path
) -> None:
    bare = make_store(tmp_path / "bare", folds=False)
    with pytest.raises(InputError, match=r"it has no folds; make some with `va-search data folds"):
        put_together(world.home, ["first"], bare)
    name = world.store.labelled[0].name
    recordings = [
        replace(one, fold=None) if one.name == name else one for one in world.store.recordings
    ]
    with pytest.raises(
        InputError, match="1 labelled recording is in no fold, expected each of them in one"
    ):
        put_together(world.home, ["first"], replace(world.store, recordings=tuple(recordings)))
    with pytest.raises(InputError, match="unknown study 'frist'; did you mean 'first'"):
        put_together(world.home, ["frist"], world.store)
    with pytest.raises(
        InputError,
        match=r"no configuration is complete on all folds .*2 left out: trained on train_val",
    ):
        build(world.home, ["mix"], GREEDY, "e", world.store)


def test_folds_made_anew_are_other_folds(world: FoldsWorld, tmp_path: Path) -> None:
    put_together(world.home, ["first"], world.store)
    folds = {
        one.name: (one.fold + 1) % 4 if one.fold is not None else None
        for one in world.store.labelled
    }
    swapped = {"p0_a": folds["p1_a"], "p1_a": folds["p0_a"]}
    (world.store.path / "folds.json").write_text(json.dumps({"folds": {**folds, **swapped}}))
    other = type(world.store).open(world.store.path)
    together = put_together(world.home, ["first"], other)
    assert together.entries == () and any(
        "no fold of this store" in reason for reason in together.left_out
    )


def test_an_ensemble_over_folds_is_measured_on_all_labelled_recordings(world: FoldsWorld) -> None:
    built = build(world.home, ["first"], GREEDY, "e")
    measured = built.measured_on
    assert (measured.fold, measured.recordings, measured.split) == (
        "all",
        10,
        "train and validation",
    )
    assert measured.groups == 8 and measured.kept_together == "subject and video"
    assert built.scores["out_of_fold"] and built.candidates == 3
    member = built.dimensions["valence"].members[0]
    assert (
        member.source == "folds"
        and list(member.trials or {}) == ["0", "1", "2", "3"]
        and member.features == ["face"]
    )
    assert built.notes == []  # the records' scores are those measured now
    materials = gather(world.home, ["first"], None, outside=True, folds="all")
    people = [{world.store.labelled[i].subject for i in part} for part in materials.folds.parts]
    assert sum(map(len, people)) == 8 == len(set.union(*people))
    official = gather(world.home, ["first"], None, outside=True, folds="official")
    assert len(official.lines.recordings) == len(world.store.split("validation"))
    files = sorted(
        path.name
        for path in (world.home.study("first") / "statistics").glob("valence-*.members.npz")
    )
    assert len(files) == 2  # never mixed up


def test_its_submission_is_the_mean_of_the_folds(world: FoldsWorld, tmp_path: Path) -> None:
    built = build(world.home, ["first"], GREEDY, "e")
    test = world.store.split("test")
    submit(built, world.store, world.bank, format="recordings", out=tmp_path / "out")
    expected = np.zeros(sum(one.frames for one in test))
    for member in built.dimensions["valence"].members:
        for trial in (member.trials or {}).values():
            values = world.bank.read("first", trial, "test", frames_hash=frames_hash(test))[
                :, 0
            ].astype(float)
            expected += member.weight / 4 * values
    np.testing.assert_allclose(predict(built, world.bank, "test", test)[:, 0], expected, atol=1e-6)
    values = world.configurations.read(
        "first",
        built.dimensions["valence"].members[0].trial,
        "validation",
        frames_hash=built.frames_hash,
    )
    world.configurations.write(
        world.configurations.trial("first", built.dimensions["valence"].members[0].trial),
        {"validation": Predictions(values * 0.5, built.frames_hash)},
    )
    with pytest.raises(
        InputError, match="was replaced since ensemble 'e' was built; build it again"
    ):
        submit(built, world.store, world.bank, format="recordings", out=tmp_path / "out")
    from_before = built.model_copy(update={"member_seals": None})
    with pytest.raises(InputError, match="a member or the annotations changed since"):
        submit(from_before, world.store, world.bank, format="recordings", out=tmp_path / "out")


def test_the_official_split_may_be_asked_for(world: FoldsWorld) -> None:
    for number in range(5, 9):
        world.train("first", number, (1,))
    assert (
        build(
            world.home, ["first"], read_recipe("mean", {"method": "mean"}), "most"
        ).measured_on.fold
        == 1
    )
    asked = read_recipe("mean", {"method": "mean"}).over("official")
    built = build(world.home, ["first"], asked, "asked")
    assert (built.measured_on.fold, built.candidates) == ("official", 3)
    assert built.recipe_document["members"] == {"folds": "official"}


def test_the_shipped_recipe_is_the_default_over_folds(world: FoldsWorld) -> None:
    shipped, default = load_recipe("over_folds"), load_recipe("bagged_greedy")
    assert shipped.plans(AFFECT) == default.plans(AFFECT) and shipped.members.folds == "all"
    assert build(world.home, ["first"], shipped, "e").measured_on.fold == "all"


def test_what_is_expected_counts_all_people_and_the_best_epochs_of_every_fold(
    world: FoldsWorld,
) -> None:
    # Of each configuration the trial of one fold gained .08 by its best epoch, the others nothing.
    for path in (world.home.bank / "first").glob("*/trial.json"):
        document = json.loads(path.read_text())
        gain = 0.08 if document["settings"]["fold"] == 1 else 0.0
        document["history"] = []
        for epoch, ccc_of_epoch in enumerate((0.4, 0.4 + gain, 0.4)):
            cccs = {"ccc_valence": ccc_of_epoch, "ccc_arousal": ccc_of_epoch}
            document["history"].append({"epoch": epoch + 1, "loss": 0.5, **cccs})
        del document["seal"]  # a record from before there were seals may be edited
        path.write_text(json.dumps(document))
    built = build(world.home, ["first"], GREEDY, "e")
    estimate, scores = built.estimate, built.scores["out_of_fold"]
    assert estimate is not None and scores is not None and built.measured_on.groups == 8
    assert (estimate.people, estimate.tested) == (2, True)
    assert estimate.too_high == pytest.approx(dict.fromkeys((*AFFECT, "score"), 0.02))
    for measure, interval in estimate.intervals.items():
        assert estimate.scores[measure] == pytest.approx(scores[measure] - 0.02)
        assert interval is not None and interval[0] < estimate.scores[measure] < interval[1]
