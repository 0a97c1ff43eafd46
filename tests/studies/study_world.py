"""A home with studies that depend on one another, for the tests of housekeeping: no training."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ensemble_world import World, make_world

from va_search.api.contents import list_studies
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import check_members, read_ensemble
from va_search.files import read_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.predictions.records import files_beside, write_record
from va_search.seals import seal_files
from va_search.search.study import Study

TRIALS = ["a0", "a1", "a2"]


def make_studies(folder: Path) -> World:
    """Study `first` of three trials with weights, study `second` that took a0 over and learns from
    `first`, and ensemble `best` of one trial of `first` a target."""
    world = make_world(folder, trials=3)
    for trial in TRIALS:
        keep_weights(world.bank, "first", trial)
    space = {"settings": {"features": ["face"]}}
    Study(world.home, "first").begin(world.store, space)
    Study(world.home, "first").record_failure("bad", {"seed": 1}, "ValueError: no")
    checkpoint = world.home.running("first", "begun") / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"half")
    world.bank.adopt("second", "a0", source="first")
    Study(world.home, "second").begin(world.store, space, warm_start=["first"])
    recipe = folder / "best_one.yaml"
    recipe.write_text("method: top_k\nk: 1\n")
    build(world.home, ["first"], load_recipe(recipe), "best", world.store)
    return world


def keep_weights(bank: Bank, study: str, trial: str) -> None:
    """Give a trial a file of weights, as one that keeps them has it."""
    folder = bank.folder(study, trial)
    (folder / "valence.safetensors").write_bytes(b"weights of " + trial.encode())
    document = read_json(folder / "trial.json")
    write_record(folder, document, seal_files(folder, files_beside(folder)))


def copied(made: World, root: Path) -> World:
    """A copy of the world at `root`, in place of an earlier one."""
    if root.exists():
        shutil.rmtree(root)
    # With hard links as they are, which shutil.copytree does not keep.
    subprocess.run(["cp", "-a", str(made.home.root), str(root)], check=True)
    return World(Home(root), made.store)


def check_whole(home: Home) -> None:
    """The home opens: all its studies are listed, and every trial and ensemble is whole."""
    bank = Bank(home.bank)
    for entry in list_studies(home=home.root):
        for trial in bank.trials(entry.study):
            bank.check(entry.study, trial)
    for path in (home.root / "ensembles").glob("[!.]*.json"):
        check_members(read_ensemble(home, path.stem), bank, predictions=True)
