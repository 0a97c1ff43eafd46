"""The verdict on an ensemble in one block: every row's values, and the next command really run."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ensemble_world import RANGE, World, make_store
from typer.testing import CliRunner, Result

import va_search as va
from va_search.cli.main import app
from va_search.ensemble.build import build
from va_search.ensemble.fresh import note_registered
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.refit import REFIT
from va_search.ensemble.saved import Ensemble, read_ensemble, save_ensemble
from va_search.ensemble.verdict import within_recordings
from va_search.files import write_json
from va_search.home import Home
from va_search.search.study import Study
from va_search.table import with_interval
from va_search.verdict.block import VerdictBlock, verdict_block

LABELS = ["submit", "expected", "best single trial", "within a recording", "baselines"]
SPACE = {"sampler": "grid", "settings": {"features": ["face"], "epochs": {"choice": [1, 2, 3]}}}


def made(folder: Path, *, trials: dict[str, float]) -> World:
    """A world in the current folder, with a trial of each noise."""
    world = World(Home(Path("va-home")), make_store(folder / "store"))
    for seed, (name, noise) in enumerate(trials.items()):
        world.add("first", name, seed=seed + 1, noise=noise)
    return world


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VA_SEARCH_HOME", raising=False)
    return tmp_path


@pytest.fixture
def world(folder: Path) -> World:
    """Five trials alike, whose mean is better than each."""
    return made(folder, trials={f"a{number}": 1.0 for number in range(5)})


@pytest.fixture
def lopsided(folder: Path) -> World:
    """One good trial and five bad ones, whose mean is worse than the good one."""
    return made(folder, trials={"good": 0.2, **{f"bad{number}": 6.0 for number in range(5)}})


def built(world: World, recipe: str = "mean", name: str = "e") -> Ensemble:
    return build(world.home, ["first"], load_recipe(recipe), name)


def block_of(world: World, ensemble: Ensemble) -> VerdictBlock:
    return verdict_block(world.home, ensemble)


def sentences(block: VerdictBlock, label: str) -> list[str]:
    return [sentence for name, sentence in block.rows if name == label]


def row(block: VerdictBlock, label: str) -> str:
    (sentence,) = sentences(block, label)
    return sentence


def run(command: str | None, *more: str) -> Result:
    """Run a printed command as it is."""
    assert command is not None
    words = shlex.split(command)
    assert words[0] == "va-search"
    done = CliRunner().invoke(app, [*words[1:], *more], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    return done


def with_outcome(ensemble: Ensemble, low: float, high: float) -> Ensemble:
    """The ensemble with a difference whose interval has these ends."""
    differences = ensemble.differences
    assert differences is not None
    changed = {name: replace(value, interval=(low, high)) for name, value in differences.items()}
    return ensemble.model_copy(update={"differences": changed})


def test_a_better_ensemble_is_to_be_submitted_by_the_printed_command(lopsided: World) -> None:
    block = block_of(lopsided, built(lopsided, "bagged_greedy"))
    assert [label for label, _ in block.rows] == LABELS
    assert block.submit == "e" and block.verdict.outcome == "better"
    reason = "better than the best single trial per target by more than chance"
    assert row(block, "submit") == f"e: {reason}"
    done = run(block.next_command)
    assert done.stdout.startswith("wrote ") and Path("e-submission/x1.csv").is_file()


def test_expected_scores_are_those_of_the_estimate(world: World) -> None:
    ensemble = built(world)
    estimate = ensemble.estimate
    assert estimate is not None
    text = row(block_of(world, ensemble), "expected")
    for name, score in estimate.scores.items():
        assert f"{name} {with_interval(score, estimate.intervals[name])}" in text
    assert "on 2 other people, as many as the test set has (CCC of e, 95 % interval)" in text
    seen = ensemble.measured_on.model_copy(update={"generalises_to": "unseen people, seen clips"})
    clips = ensemble.model_copy(update={"measured_on": seen})
    assert "on 2 other people and seen clips, as many" in row(block_of(world, clips), "expected")
    older = clips.model_copy(update={"estimate": None})
    text = row(block_of(world, older), "expected")
    scores, intervals = ensemble.scores["out_of_fold"], ensemble.intervals
    assert scores is not None and intervals is not None and intervals["ensemble"] is not None
    valence = with_interval(scores["valence"], intervals["ensemble"]["valence"])
    assert text.startswith(f"valence {valence}, ")
    assert text.endswith("on unseen people and seen clips (out-of-fold CCC of e, 95 % interval)")


def test_the_best_single_trials_are_named_and_judged_alike(lopsided: World) -> None:
    ensemble = built(lopsided)
    single = ensemble.best_single["out_of_fold"]
    assert single is not None
    text = row(block_of(lopsided, ensemble), "best single trial")
    assert "worse than the best single trial per target: score " in text
    assert "more than chance explains" in text and "--recipe" not in text
    for target in ("valence", "arousal"):
        assert f"{target} first/good (out-of-fold {single[target]:.3f})" in text


def test_the_trial_of_the_searchs_best_score_is_named_where_it_is_another(folder: Path) -> None:
    world = made(folder, trials={"a": 1.0, "b": 1.4, "c": 0.9, "d": 1.2, "f": 1.1})
    ensemble = built(world)
    both = ensemble.best_for_both
    assert both is not None
    in_sample, out_of_fold = both.scores["in_sample"], both.scores["out_of_fold"]
    assert in_sample is not None and out_of_fold is not None
    singles = {part.best_single.trial for part in ensemble.dimensions.values() if part.best_single}
    assert len(singles) == 2, "else nothing is to be told apart"
    assert row(block_of(world, ensemble), "best single trial").endswith(
        f"; for both in one trial: first/{both.trial} (out-of-fold {out_of_fold['score']:.3f}, "
        f"in-sample {in_sample['score']:.3f}, as a search's best score is)"
    )
    only = ensemble.model_copy(update={"best_for_both": None})
    assert "one trial" not in row(block_of(world, only), "best single trial")


@pytest.mark.parametrize(
    ("recipe", "ends", "reason"),
    [
        ("mean", (-0.1, 0.2), "ahead of the best single trial per target, but within chance"),
        ("mean", (0.1, 0.2), "better than the best single trial per target by more than chance"),
        ("best", (0.0, 0.0), "as good as the best single trial per target"),
    ],
)
def test_the_reason_says_what_chance_explains(
    world: World, recipe: str, ends: tuple[float, float], reason: str
) -> None:
    block = block_of(world, with_outcome(built(world, recipe), *ends))
    assert row(block, "submit") == f"e: {reason}"


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        (
            (-0.9, 0.1),
            "the best single trial per target has the higher score, though within chance",
        ),
        ((-0.9, -0.1), "the best single trial per target is better by more than chance"),
    ],
)
def test_a_worse_ensemble_gives_way_to_the_best_single_trial(
    lopsided: World, ends: tuple[float, float], reason: str
) -> None:
    ensemble = built(lopsided)
    block = block_of(lopsided, with_outcome(ensemble, *ends))
    assert block.submit == "first-single"
    assert row(block, "submit") == f"first-single (recipe best), not e: {reason}"
    run(block.next_command, "--no-tracking")
    # It is there now, so that it can be submitted.
    again = block_of(lopsided, ensemble)
    assert again.submit == "first-single"
    assert (again.next_command or "").startswith("va-search submit first-single ")
    assert run(again.next_command).stdout.startswith("wrote ")


def test_without_an_interval_chance_is_not_claimed(world: World) -> None:
    ensemble = built(world).model_copy(update={"differences": None})
    text = row(block_of(world, ensemble), "submit")
    assert text == "e: ahead of the best single trial per target; chance is not known"


def test_time_within_recordings_is_a_sentence_a_target(world: World) -> None:
    ensemble = built(world)
    text = row(block_of(world, ensemble), "within a recording")
    for target, weighted in ensemble.dimensions.items():
        assert weighted.per_recording is not None
        assert (
            within_recordings(target, weighted.scores.out_of_fold, weighted.per_recording) in text
        )


def test_baselines_that_are_not_beaten_are_named(world: World) -> None:
    ensemble = built(world)
    assert row(block_of(world, ensemble), "baselines") == (
        "it beats all that nobody had to train: a constant and ridge on recording means"
    )
    high = {"valence": 0.99, "arousal": 0.0, "score": 0.5}
    beaten = ensemble.model_copy(update={"baselines": {"ridge": high, "constant": high}})
    text = row(block_of(world, beaten), "baselines")
    assert text.startswith("For valence it does not beat ") and "arousal" not in text
    assert text.endswith("against 0.990")
    assert row(block_of(world, beaten), "submit").endswith(
        "but within chance; for valence a baseline that needs no training is as good or better"
    )


def test_a_search_that_goes_on_or_ended_early_is_unfinished(world: World) -> None:
    study = Study(world.home, "first")
    study.begin(world.store, {**SPACE, "seeds": [0, 1, 2]})
    ensemble = built(world)
    assert sentences(block_of(world, ensemble), "unfinished") == [
        "study first: 5 of 9 planned trials are finished, and nothing searches it now; its search "
        "command again goes on"
    ]
    with study.searching():
        world.add("first", "n0", seed=40, noise=1.0)
        block = block_of(world, ensemble)
        assert sentences(block, "unfinished") == [
            "study first is being searched now: 6 of 9 planned trials are finished; only these are "
            "used here"
        ]
        # More will come: to build it again for each would have no end.
        assert (block.next_command or "").startswith("va-search submit e ")
    for number in range(3):
        study.record_failure(f"f{number}", {"features": ["face"]}, "Traceback\nValueError: no")
    failed = "study first: 3 trials failed; why: va-search status first"
    assert sentences(block_of(world, ensemble), "unfinished") == [failed]


def test_newer_trials_are_taken_in_by_the_printed_command(world: World) -> None:
    ensemble = built(world)
    world.add("first", "n0", seed=41, noise=1.0)
    block = block_of(world, ensemble)
    assert sentences(block, "out of date") == [
        "1 trial was completed after ensemble e was built; the same ensemble command again takes it "
        "in"
    ]
    assert block.next_command == "va-search ensemble first --recipe mean --name e"
    run(block.next_command, "--no-tracking")
    rebuilt = read_ensemble(world.home, "e")
    assert rebuilt.candidates == 6 and not sentences(block_of(world, rebuilt), "out of date")


def test_a_recipe_that_is_not_found_by_its_name_is_not_printed(world: World, folder: Path) -> None:
    (folder / "mine.yaml").write_text("method: mean\n")
    ensemble = build(world.home, ["first"], load_recipe(folder / "mine.yaml"), "e")
    world.add("first", "n0", seed=41, noise=1.0)
    assert (block_of(world, ensemble).next_command or "").startswith("va-search submit e ")


def test_what_was_made_of_an_earlier_build_is_out_of_date(world: World) -> None:
    ensemble = built(world)
    content = {"method": REFIT, "of": "e", "match": True, "content": "0" * 16}
    refit = {"name": "e-refit", "recipe": REFIT, "recipe_document": content}
    save_ensemble(world.home, ensemble.model_copy(update=refit))
    note_registered(world.home, ensemble, model="e", version=3, tracking_uri="sqlite:///x")
    world.add("first", "n0", seed=41, noise=1.0)
    rebuilt = built(world)
    explanation = world.home.ensemble("e").with_suffix("") / "explain.json"
    write_json(explanation, {"ensemble": "e", "content": "0" * 16})
    assert sentences(block_of(world, rebuilt), "out of date") == [
        "the explanation of ensemble e is of an earlier build; --explain makes it again",
        "models:/e/3 is of an earlier build of ensemble e; to register this one: va-search register "
        "e",
        "ensemble e-refit has the members of an earlier build of e; to train those of this one: "
        "va-search refit e --name e-refit",
    ]
    of_refit = block_of(world, read_ensemble(world.home, "e-refit"))
    assert (
        "ensemble e-refit is of an earlier build of e; to train the members of this one again: "
        "va-search refit e --name e-refit"
    ) in sentences(of_refit, "out of date")


def test_members_trained_again_are_judged_by_the_ensemble_they_were_chosen_in(
    world: World,
) -> None:
    ensemble = built(world)
    nothing: dict[str, Any] = {"in_sample": None, "out_of_fold": None}
    document = {"method": REFIT, "of": "e", "match": True, "content": "0" * 16}
    update = {"name": "e-refit", "recipe": REFIT, "recipe_document": document, "scores": nothing}
    block = block_of(world, ensemble.model_copy(update=update))
    assert block.submit == "e-refit" and row(block, "submit") == (
        "e-refit: the members of e, trained again on everything labelled; nothing is left to score "
        "them on"
    )
    source = block_of(world, ensemble)
    for label in LABELS[1:]:
        assert row(block, label) == row(source, label)


def test_a_store_that_is_gone_or_another_one_is_said(world: World, folder: Path) -> None:
    ensemble = built(world)
    shutil.rmtree("store")
    make_store(folder / "store", label_range=(RANGE[0], RANGE[1] + 1.0))
    block = block_of(world, ensemble)
    (sentence,) = sentences(block, "out of date")
    assert "has changed since trial a" in sentence and block.next_command is None
    shutil.rmtree("store")
    block = block_of(world, ensemble)
    (sentence,) = sentences(block, "out of date")
    assert sentence.endswith("if the store was moved, say where it is with --data STORE")
    assert block.next_command is None


def test_compare_says_what_to_take_and_its_command_builds_that(world: World) -> None:
    compared = va.compare_recipes("first", home=world.home.root, note=lambda text: None)
    block = compared.judged()
    assert [label for label, _ in block.rows] == ["take", *LABELS[1:]]
    assert row(block, "take").startswith("recipe bagged_greedy: the default, ")
    run(block.next_command, "--no-tracking")
    saved = read_ensemble(world.home, block.submit)
    assert saved.scores == compared.ensemble.scores
    # What was said before it was built is what is said of it.
    said = block_of(world, saved)
    for label in LABELS[1:]:
        assert row(said, label) == row(block, label)


def test_compare_over_all_folds_prints_them(world: World) -> None:
    done = run("va-search ensemble first --compare --folds official --json")
    block = json.loads(done.stdout)["verdict_block"]
    assert "--folds official" in block["next_command"]
    run(block["next_command"], "--no-tracking")


def test_every_command_shows_the_same_rows(world: World) -> None:
    done = run("va-search ensemble first --recipe mean --name e --no-tracking --json")
    rows = json.loads(done.stdout)["verdict"]["rows"]
    assert [label for label, _ in rows] == LABELS
    done = run("va-search submit e --out s --json")
    verdict = json.loads(done.stdout)["verdict"]
    assert verdict["rows"] == rows and verdict["submit"] == "e"
    assert verdict["use_best"] is False and verdict["outcome"] == "ahead"


def test_a_notebook_shows_it_and_obeys_nothing_in_names(world: World) -> None:
    built(world, name="e")
    page = va.open_ensemble("e", home=world.home.root)._repr_html_()
    assert "Verdict on ensemble e" in page and "va-search submit e" in page
    block = block_of(world, read_ensemble(world.home, "e"))
    rows = (("submit", "<script>alert(1)</script>"), *block.rows[1:])
    hostile = VerdictBlock(block.subject, block.verdict, rows, "e", "<b>")
    assert "<script>" not in hostile._repr_html_() and "<b>" not in hostile._repr_html_()


def test_a_terminal_wraps_sentences_and_keeps_commands_whole(world: World) -> None:
    ensemble = built(world)
    note_registered(world.home, ensemble, model="e", version=3, tracking_uri="sqlite:///x")
    world.add("first", "n0", seed=41, noise=1.0)
    block = block_of(world, built(world))
    lines = block.lines(60)
    assert max(map(len, lines)) <= 60
    assert "va-search register e" in [line.strip() for line in lines]
    flat = block.lines()
    assert len(flat) == 1 + len(block.rows)


def test_the_block_is_plain_data(world: World) -> None:
    block = block_of(world, built(world))
    document = json.loads(json.dumps(block.document()))
    assert document["rows"] == [list(pair) for pair in block.rows]
    assert document["next_command"] == block.next_command
    assert {"outcome", "difference", "interval", "text", "use_best"} <= document.keys()
