"""Does the default ensemble do harm? Its test CCC beside the other recipes', over many simulated
worlds, and on CASE.

    python benchmarks/do_no_harm.py [--worlds 20] [--people 3 6 …] [--case DIR] [--quick] [--no-auto] [--variants]

A world: people with annotated recordings, and members that are right and wrong in ways of one
family (below). Recipes see the predictions for some people and are judged on 300 others; nothing is
trained. Printed as Markdown: the mean test CCC of every recipe by family, with its standard
deviation over worlds; what the default gains over the best single member by family and number of
people, with the standard error; and whether two goals are met. `best` is the single member with the
highest CCC on the people chosen on; `oracle` the recipe that turns out best on the test people of
each world, which nobody can know. Recipes are those in ensembles/ as they stand there; `old
default` is the one that was replaced. Where no member's CCC is positive the default makes no
ensemble, and 0 is counted, a constant's CCC; the other recipes are shown with what they would have
given (va-search refuses to build them too). Family `all flipped` is nothing but that, so it is left
out of the means over all worlds.

Families, each with 3 to 24 members (correlations with the annotation, on its own scale but for a
tenth or two):

    all good            .45 to .75, errors shared by a tenth to four fifths
    all bad             −.15 to .2
    all flipped         −.75 to −.45
    near-copies         one to three different members, the others differ by a few per cent of their errors
    a few bad           a quarter of the members −.1 to .15
    sign flips          up to four fifths of the members multiplied by −1
    one excellent       .8 among members of .1 to .35
    mixed scales        scales and offsets of their own, from a third of the annotation's to three times as much
    many trials         40 to 120 members, .2 to .65, with much in common
    between recordings  as CASE: annotations and errors lie between people and recordings, skill differs by person

`--case DIR`: the challenge entries in DIR/team_predictions, with DIR/recordings.csv and
DIR/recordings: so many draws of 6 of the labelled subjects to choose on, all others are the test.

`--variants` prints the same for the default with one thing changed, on worlds of other seeds than
those that are reported: what the default's numbers were chosen by. 1,000 worlds, 100 of a family,
take some minutes on 2 cores, without `auto` a quarter of that."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble import sums
from va_search.ensemble.folds import make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import measure
from va_search.ensemble.out_of_fold import Fits, winner
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.ensemble.statistics import Statistics
from va_search.targets import AFFECT
from va_search.trial import Trial

Vector = NDArray[np.float64]
FRAMES = 24
"""Frames of a recording; so many of them in a row have one value within the recording:"""
ALIKE = 6
PEOPLE = (3, 6, 12, 30, 60)
TEST_PEOPLE = 300
REPORTED, CHOSEN_ON = 2026, 100
"""Seeds of the worlds that are reported, and of those that the default's numbers were chosen by."""

SHIPPED = ("best", "mean", "top_k", "greedy", "exact", "nnls_matched")
DEFAULT, OLD, AUTO, ORACLE = "default", "old default", "auto", "oracle"
OLD_DEFAULT: dict[str, Any] = {
    "method": "bagged_greedy",
    "bags": 20,
    "steps": 50,
    "prune": {"top": 10},
    "shrink": 0.5,
    "match": True,
}
CHANGES: dict[str, dict[str, Any]] = {
    "not only helpful": {"prune": {"top": 20}},
    "top 10": {"prune": {"helpful": True, "top": 10}},
    "members as they are": {"match_members": False},
    "shrink 0": {"shrink": 0.0},
    "shrink 0.25": {"shrink": 0.25},
    "shrink 0.75": {"shrink": 0.75},
    "shrink 1": {"shrink": 1.0},
    "shrink auto": {"shrink": "auto"},
    "toward equal": {"toward": "equal"},
    "toward equal 0.25": {"toward": "equal", "shrink": 0.25},
    "match true": {"match": True},
    "match false": {"match": False},
}
"""What `--variants` changes of the default, one at a time."""
ALL_FLIPPED = "all flipped"


@dataclass(frozen=True)
class World:
    """What is true of the members, in arrays (member,): any number of people can be drawn from it.

    `correlation`: with the annotation. `cluster`: members of one have the part `copied` of their
    errors in common, all have the part `shared`. `scale`, `offset` of the predictions, in the
    annotation's standard deviations. `between`: the part of the variance that lies between people
    and recordings. `skill`: spread of single persons' correlations. `each`: recordings of a person.
    """

    correlation: Vector
    cluster: NDArray[np.intp]
    scale: Vector
    offset: Vector
    shared: float
    copied: float = 0.0
    between: float = 0.4
    skill: float = 0.3
    each: int = 1

    def draw(self, rng: np.random.Generator, people: int) -> tuple[Vector, Vector]:
        """Predictions (frame, member) and annotations (frame,), one recording after another."""
        members = len(self.correlation)
        annotation = self._noise(rng, people, 1)
        shared = self._noise(rng, people, 1)
        copied = self._noise(rng, people, int(self.cluster.max()) + 1)[:, self.cluster]
        own = np.sqrt(self.copied) * copied + np.sqrt(1.0 - self.copied) * self._noise(
            rng, people, members
        )
        error = np.sqrt(self.shared) * shared + np.sqrt(1.0 - self.shared) * own
        skill = np.exp(self.skill * rng.normal(size=(people, members))).repeat(
            self.each * FRAMES, axis=0
        )
        predictions = (
            self.correlation * skill * annotation + np.sqrt(1.0 - self.correlation**2) * error
        )
        return self.offset + self.scale * predictions, annotation[:, 0]

    def _noise(self, rng: np.random.Generator, people: int, series: int) -> Vector:
        """(frame, series) of variance 1: a part of each person, of each recording, and of its
        frames."""
        recordings = people * self.each
        of_person = rng.normal(size=(people, series)).repeat(self.each * FRAMES, axis=0)
        of_recording = rng.normal(size=(recordings, series)).repeat(FRAMES, axis=0)
        of_frames = rng.normal(size=(recordings * FRAMES // ALIKE, series)).repeat(ALIKE, axis=0)
        between = (
            np.sqrt(0.4 * self.between) * of_person + np.sqrt(0.6 * self.between) * of_recording
        )
        return np.asarray(between + np.sqrt(1.0 - self.between) * of_frames)


def make_world(family: str, rng: np.random.Generator) -> World:
    """A world of the family."""
    members = int(rng.integers(40, 121) if family == "many trials" else rng.integers(3, 25))
    world = World(
        correlation=rng.uniform(0.45, 0.75, members),
        cluster=np.arange(members),
        scale=np.exp(rng.normal(0.0, 0.15, members)),
        offset=rng.normal(0.0, 0.15, members),
        shared=float(rng.uniform(0.1, 0.8)),
        each=int(rng.integers(1, 5)),
    )
    return FAMILIES[family](world, rng)


def all_good(world: World, rng: np.random.Generator) -> World:
    return world


def all_bad(world: World, rng: np.random.Generator) -> World:
    return replace(world, correlation=rng.uniform(-0.15, 0.2, len(world.correlation)))


def all_flipped(world: World, rng: np.random.Generator) -> World:
    return replace(world, correlation=-world.correlation)


def near_copies(world: World, rng: np.random.Generator) -> World:
    members = len(world.correlation)
    drawn = rng.integers(0, int(rng.integers(1, 4)), members)
    cluster = np.unique(drawn, return_inverse=True)[1].astype(np.intp)
    correlation = rng.uniform(0.45, 0.75, 3)[cluster] + rng.normal(0.0, 0.01, members)
    return replace(world, correlation=correlation, cluster=cluster, copied=0.97)


def a_few_bad(world: World, rng: np.random.Generator) -> World:
    members = len(world.correlation)
    correlation = world.correlation.copy()
    bad = rng.permutation(members)[: max(1, members // 4)]
    correlation[bad] = rng.uniform(-0.1, 0.15, len(bad))
    return replace(world, correlation=correlation)


def sign_flips(world: World, rng: np.random.Generator) -> World:
    members = len(world.correlation)
    flipped = rng.permutation(members)[: int(rng.integers(1, max(2, round(0.8 * members))))]
    correlation = world.correlation.copy()
    correlation[flipped] *= -1.0
    return replace(world, correlation=correlation)


def one_excellent(world: World, rng: np.random.Generator) -> World:
    members = len(world.correlation)
    correlation = rng.uniform(0.1, 0.35, members)
    correlation[rng.integers(members)] = 0.8
    return replace(world, correlation=correlation)


def mixed_scales(world: World, rng: np.random.Generator) -> World:
    members = len(world.correlation)
    return replace(
        world, scale=np.exp(rng.normal(0.0, 0.8, members)), offset=rng.normal(0.0, 0.8, members)
    )


def many_trials(world: World, rng: np.random.Generator) -> World:
    members = len(world.correlation)
    cluster = np.unique(rng.integers(0, members // 3, members), return_inverse=True)[1].astype(
        np.intp
    )
    correlation, shared = rng.uniform(0.2, 0.65, members), float(rng.uniform(0.5, 0.9))
    return replace(world, correlation=correlation, cluster=cluster, copied=0.6, shared=shared)


def between_recordings(world: World, rng: np.random.Generator) -> World:
    correlation = rng.uniform(0.1, 0.65, len(world.correlation))
    return replace(world, correlation=correlation, between=0.85, skill=0.5, each=8)


FAMILIES = {
    "all good": all_good,
    "all bad": all_bad,
    ALL_FLIPPED: all_flipped,
    "near-copies": near_copies,
    "a few bad": a_few_bad,
    "sign flips": sign_flips,
    "one excellent": one_excellent,
    "mixed scales": mixed_scales,
    "many trials": many_trials,
    "between recordings": between_recordings,
}


def material(world: World, rng: np.random.Generator, people: int) -> Material:
    """What recipes see: so many people's predictions and annotations."""
    predictions, annotation = world.draw(rng, people)
    recordings = [
        Recording(
            f"r{i:05}",
            f"s{i // world.each:05}",
            f"v{i:05}",
            "validation",
            None,
            i * FRAMES,
            FRAMES,
            25.0,
        )
        for i in range(people * world.each)
    ]
    folds = make_folds(recordings, [FRAMES] * len(recordings))
    pairs = [(recording.name, FRAMES) for recording in recordings]
    statistics = _measured(predictions, annotation, pairs)
    return Material(
        statistics, _candidates(statistics.labels), _no_frames, np.empty(0), recordings, folds
    )


def people_of(world: World, rng: np.random.Generator, people: int) -> Statistics:
    """So many other people of a world, to judge on."""
    predictions, annotation = world.draw(rng, people)
    return _measured(predictions, annotation, [("all", len(annotation))])


def _measured(
    predictions: Vector, annotation: Vector, recordings: Sequence[tuple[str, int]]
) -> Statistics:
    columns = list(np.ascontiguousarray(predictions.T))
    return measure(columns, annotation, recordings, [f"m{i:03}" for i in range(len(columns))])


def _candidates(labels: Sequence[str]) -> list[Trial]:
    return [Trial("members", label, source="outside") for label in labels]


def _no_frames(member: int) -> Vector:
    raise AssertionError("no recipe here reads frames")


@cache
def documents(variants: bool) -> dict[str, dict[str, Any]]:
    """The recipes compared, but for `auto`."""
    default = load_recipe("bagged_greedy").document
    if variants:
        changed = {name: {**default, **change} for name, change in CHANGES.items()}
        return {"best": {"method": "best"}, DEFAULT: default, **changed}
    shipped = {name: load_recipe(name).document for name in SHIPPED}
    return {**shipped, OLD: OLD_DEFAULT, DEFAULT: default}


@dataclass(frozen=True)
class Compared:
    """Which recipes are compared: the default's variants or the shipped ones, with `auto` or
    without."""

    variants: bool
    auto: bool


def scores(seen: Material, others: Statistics, which: Compared) -> dict[str, float]:
    """The CCC on others of every recipe."""
    compared = documents(which.variants)
    fits = {
        name: Fits(seen, read_recipe(name, one).plan("valence")) for name, one in compared.items()
    }
    found = {name: on_others(one.fit().weights, one, others) for name, one in fits.items()}
    if which.auto:
        among = [
            DEFAULT if name == "bagged_greedy" else name
            for name in load_recipe("auto").document["among"]
        ]
        found[AUTO] = found[among[winner([fits[name] for name in among])]]
    if not (seen.statistics.alone().ccc_of_each() > 0.0).any():  # then there is no ensemble
        found |= {name: 0.0 for name in found if name == DEFAULT or name in CHANGES}
    return found


def on_others(weights: Vector, fits: Fits, others: Statistics) -> float:
    """The fitted ensemble's CCC on other people."""
    post, centre = fits.fit().post, others.label_shift
    one = sums.from_statistics(others, weights[:, None])[0]
    finished = sums.affine(one, post.scale, post.scale * centre + post.offset - centre)
    return float(sums.ccc(finished.sum(axis=0)))


def in_world(which: Compared, seed: int, job: tuple[str, int, int]) -> dict[str, float]:
    """The scores in one world: its family, the number of people seen, and its own number."""
    family, people, number = job
    rng = np.random.default_rng([seed, list(FAMILIES).index(family), people, number])
    world = make_world(family, rng)
    return scores(material(world, rng, people), people_of(world, rng, TEST_PEOPLE), which)


@dataclass(frozen=True)
class Case:
    """Real predictions: recordings (labelled frames only) and the statistics of each dimension over
    all of them."""

    recordings: list[Recording]
    dimensions: list[Statistics]

    @classmethod
    def read(cls, folder: Path) -> Case:
        """Entries in team_predictions/<entry>/<recording>.csv, a row for each labelled frame."""
        entries = sorted(path for path in (folder / "team_predictions").iterdir() if path.is_dir())
        recordings, annotations = [], []
        predictions: list[list[Vector]] = [[] for _ in entries]
        for row in pyarrow.csv.read_csv(folder / "recordings.csv").to_pylist():
            if row["split"] == "test":
                continue
            annotation = _pairs(folder / "recordings" / f"{row['recording']}.csv")
            annotation = annotation[~np.isnan(annotation).any(axis=1)]
            name, frames = row["recording"], len(annotation)
            recordings.append(
                Recording(name, str(row["subject"]), name, "validation", None, 0, frames, 20.0)
            )
            annotations.append(annotation)
            for index, entry in enumerate(entries):
                predictions[index].append(_pairs(entry / f"{name}.csv"))
        pairs = [(recording.name, recording.frames) for recording in recordings]
        labels = np.concatenate(annotations)
        joined = np.stack(
            [np.concatenate(parts) for parts in predictions], axis=1
        )  # (frame, entry, dimension)
        dimensions = [
            _measured(joined[..., index], labels[:, index], pairs) for index in range(len(AFFECT))
        ]
        return cls(recordings, dimensions)

    def scores(self, which: Compared, people: int, job: tuple[int, int]) -> dict[str, float]:
        """The scores of one dimension in one draw of people."""
        dimension, number = job
        subjects = sorted({recording.subject for recording in self.recordings})
        drawn = (
            np.random.default_rng([REPORTED, number])
            .choice(subjects, people, replace=False)
            .tolist()
        )
        seen = [
            index for index, recording in enumerate(self.recordings) if recording.subject in drawn
        ]
        others = [index for index in range(len(self.recordings)) if index not in seen]
        recordings = [self.recordings[index] for index in seen]
        folds = make_folds(recordings, [recording.frames for recording in recordings])
        statistics = self.dimensions[dimension]
        candidates = _candidates(statistics.labels)
        chosen_on = Material(
            _blocks(statistics, seen), candidates, _no_frames, np.empty(0), recordings, folds
        )
        return scores(chosen_on, _blocks(statistics, others), which)


def _pairs(path: Path) -> Vector:
    table = pyarrow.csv.read_csv(path)
    columns = [table.column(dimension).to_numpy(zero_copy_only=False) for dimension in AFFECT]
    return np.stack(columns, axis=1).astype(np.float64)


def _blocks(statistics: Statistics, recordings: Sequence[int]) -> Statistics:
    """The statistics of some recordings."""
    return statistics.of_recordings(np.array(recordings))


Columns = dict[str, Vector]
"""Test CCCs (world,) by recipe."""


def columns(rows: Sequence[Mapping[str, float]]) -> Columns:
    """The worlds' scores by recipe, and of the recipe that turned out best in each world."""
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {**found, ORACLE: np.max(list(found.values()), axis=0)}


def print_scores(title: str, by_row: Mapping[str, Columns]) -> None:
    """A line per row, a column per recipe: mean ± standard deviation."""
    names = list(next(iter(by_row.values())))
    print(f"\n| {title} | worlds | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for row, found in by_row.items():
        cells = [f"{found[name].mean():.3f} ± {found[name].std():.3f}" for name in names]
        print(f"| {row} | {len(found[names[0]])} | " + " | ".join(cells) + " |")


def print_gains(
    people: Sequence[int], jobs: Sequence[tuple[str, int, int]], found: Columns, less: str
) -> None:
    """The default's mean CCC less that of another column, ± its standard error, by family and
    number of people."""
    family, number = np.array([job[0] for job in jobs]), np.array([job[1] for job in jobs])
    difference = found[DEFAULT] - found[less]
    print(f"\n| default less {less} | " + " | ".join(f"{n} people" for n in people) + " | all |")
    print("|---" * (len(people) + 2) + "|")
    for row in FAMILIES:
        cells = [difference[(family == row) & (number == n)] for n in people]
        cells.append(difference[family == row])
        print(
            f"| {row} | "
            + " | ".join(f"{_signed(cell)} ± {_error(cell):.3f}" for cell in cells)
            + " |"
        )


def _signed(values: Vector) -> str:
    return f"{values.mean():+.3f}".replace("-", "−")


def _error(values: Vector) -> float:
    return float(values.std() / np.sqrt(len(values)))


def print_goals(jobs: Sequence[tuple[str, int, int]], found: Columns) -> None:
    """Whether the default is near the best recipe on average, and not below the best single in any
    family."""
    family = np.array([job[0] for job in jobs])
    some = family != ALL_FLIPPED
    means = {name: float(values[some].mean()) for name, values in found.items() if name != ORACLE}
    best = max(means, key=lambda name: means[name])
    behind = means[best] - means[DEFAULT]
    regret = float((found[ORACLE] - found[DEFAULT])[some].mean())
    print(f"\nWithin .01 of the best recipe on average over worlds: {_whether(behind <= 0.01)}.")
    print(
        f"The best recipe on average is `{best}` with {means[best]:.4f}, the default has {means[DEFAULT]:.4f};"
    )
    print(
        f"of the recipe that turned out best in each world it is {regret:.4f} short, the old default ",
        end="",
    )
    print(
        f"{float((found[ORACLE] - found[OLD])[some].mean()):.4f}."
        if OLD in found
        else "not compared."
    )
    gains = {
        name: float((found[DEFAULT] - found["best"])[family == name].mean())
        for name in dict.fromkeys(family)
    }
    worst = min(gains, key=lambda name: gains[name])
    print(
        f"\nNever more than .005 below the best single member in a family: {_whether(gains[worst] >= -0.005)}."
    )
    print(f"The lowest gain is {gains[worst]:+.4f}, family {worst}.")


def _whether(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--worlds", type=int, default=20, help="of each family and number of people"
    )
    parser.add_argument("--people", type=int, nargs="+", default=list(PEOPLE))
    parser.add_argument("--case", type=Path, default=None)
    parser.add_argument("--draws", type=int, default=60, help="of CASE's people")
    parser.add_argument("--quick", action="store_true", help="8 worlds, 3 and 12 people, 8 draws")
    parser.add_argument(
        "--variants",
        action="store_true",
        help="the default with one thing changed, on other worlds",
    )
    parser.add_argument(
        "--no-auto", action="store_true", help="without `auto`, which takes most of the time"
    )
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if given.quick:
        given.worlds, given.people, given.draws = 8, [3, 12], 8
    started = time.monotonic()
    which = Compared(given.variants, auto=not (given.variants or given.no_auto))
    seed = CHOSEN_ON if given.variants else REPORTED
    jobs = [
        (family, n, number)
        for family in FAMILIES
        for n in given.people
        for number in range(given.worlds)
    ]
    with Pool(given.processes) as pool:
        rows = pool.map(partial(in_world, which, seed), jobs, chunksize=4)
        found = columns(rows)
        family = np.array([job[0] for job in jobs])
        by_family = {
            name: {key: values[family == name] for key, values in found.items()}
            for name in FAMILIES
        }
        every = {key: values[family != ALL_FLIPPED] for key, values in found.items()}
        print_scores("test CCC", {**by_family, f"all but {ALL_FLIPPED}": every})
        for less in ("best", *([] if given.variants else [OLD]), ORACLE):
            print_gains(given.people, jobs, found, less)
        print_goals(jobs, found)
        if given.case is None:
            print("\nCASE's challenge entries: left out (--case DIR names their folder)")
        elif not (given.case / "team_predictions").is_dir():
            print(
                f"\nCASE's challenge entries: left out, {given.case}/team_predictions is no folder"
            )
        else:
            print_case(pool, Case.read(given.case), which, given.draws)
    print(f"\n{len(jobs)} worlds, {time.monotonic() - started:.0f} s")


def print_case(pool: Any, case: Case, which: Compared, draws: int) -> None:
    """The same for draws of 6 people, by dimension."""
    by_row = {}
    for index, dimension in enumerate(AFFECT):
        jobs = [(index, number) for number in range(draws)]
        by_row[dimension] = columns(pool.map(partial(case.scores, which, 6), jobs, chunksize=2))
    names = list(by_row[AFFECT[0]])
    by_row["both"] = {
        name: np.mean([by_row[dimension][name] for dimension in AFFECT], axis=0) for name in names
    }
    print_scores("CASE, test CCC", by_row)


if __name__ == "__main__":
    main()
