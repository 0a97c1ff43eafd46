"""Where members were trained without the clips that they are scored on, weights are chosen without
them as well; where that can't be, it is said beside the score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from folds_world import FoldsWorld, labels_of

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.folds import make_folds
from va_search.data.store import Store
from va_search.ensemble.build import build
from va_search.ensemble.material import gather
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.verdict import verdict_of
from va_search.home import Home
from va_search.targets import affect

FRAMES = 40


def crossed_world(folder: Path, people: int, clips: int, k: int, by: str) -> FoldsWorld:
    """Everybody watched every clip; three configurations on each of k folds."""
    sources = []
    for person in range(people):
        for clip in range(clips):
            name = f"p{person}_{clip}"
            sources.append(
                Source(name, f"p{person}", name, "train", None, 20.0, (), stimulus=f"c{clip}")
            )
    sources.append(Source("x", "x", "x", "test", None, 20.0, (), stimulus="c0"))
    targets = affect(0.5, 9.5)
    draft = Draft(
        folder / "store", Description("crossed", targets, {"face": ("visual", ("a",))}), sources
    )
    for index, source in enumerate(sources):
        labels = labels_of(index, FRAMES) if source.split != "test" else None
        draft.add(index, Part({"face": np.ones((FRAMES, 1))}, labels))
    draft.finish()
    make_folds(folder / "store", k=k, by=by)
    world = FoldsWorld(Home(folder / "home"), Store.open(folder / "store"))
    for number in range(3):
        world.train("first", number, tuple(world.store.fold_numbers))
    return world


@pytest.mark.parametrize("folds", [None, "all"])
def test_weights_see_neither_the_people_nor_the_clips_that_are_scored(
    tmp_path: Path, folds: str | None
) -> None:
    world = crossed_world(tmp_path, 6, 4, 4, "subject,stimulus")
    materials = gather(world.home, ["first"], world.store, outside=False, folds=folds)
    recordings = materials.lines.recordings
    assert len(recordings) == (24 if folds else 6)
    for material in materials.values():
        assert material.folds.kept_together == "subject or stimulus"
        for part in range(len(material.folds.parts)):
            weights = material.each(frozenset({part}))
            judged = [recordings[index] for index in material.of(part).tolist()]
            people = {recording.subject for recording in judged}
            clips = {recording.stimulus for recording in judged}
            assert 0 < weights.sum() < len(weights)
            for index in np.flatnonzero(weights).tolist():
                assert recordings[index].subject not in people
                assert recordings[index].stimulus not in clips


def test_the_score_is_of_unseen_people_and_clips(tmp_path: Path) -> None:
    world = crossed_world(tmp_path, 6, 4, 4, "subject,stimulus")
    recipe = read_recipe("greedy", {"method": "greedy", "members": {"folds": "all"}})
    ensemble = build(world.home, ["first"], recipe, "e", world.store)
    assert ensemble.measured_on.generalises_to == "unseen people, unseen clips"
    assert ensemble.measured_on.folds == 9 and ensemble.measured_on.groups == 6
    assert verdict_of(ensemble).text.startswith("On unseen people and unseen clips this ensemble")


def test_a_fold_of_one_clip_says_that_weights_saw_it(tmp_path: Path) -> None:
    world = crossed_world(tmp_path, 6, 2, 4, "subject,stimulus")
    ensemble = build(
        world.home, ["first"], read_recipe("greedy", {"method": "greedy"}), "e", world.store
    )
    whom = "unseen people, unseen clips (seen by its weights)"
    assert ensemble.measured_on.generalises_to == whom
    assert "On unseen people and unseen clips (seen by its weights) " in verdict_of(ensemble).text


def test_folds_by_stimulus_choose_without_its_clips_too(tmp_path: Path) -> None:
    world = crossed_world(tmp_path, 4, 4, 2, "stimulus")
    materials = gather(world.home, ["first"], world.store, outside=False)
    assert materials.folds.kept_together == "subject or stimulus"
