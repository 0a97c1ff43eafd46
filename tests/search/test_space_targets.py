"""Spaces on stores of one target and of three: objective, weights in the loss, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from target_world import ONE, THREE, make_target_store

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.home import Home
from va_search.search.configurations import Space
from va_search.search.fold_table import Spread, fold_table
from va_search.search.machine import Options
from va_search.search.paper import fitted_spaces
from va_search.search.plan import make_plan
from va_search.search.readiness import check_ready
from va_search.search.sampler import Sampler
from va_search.search.sizes import disk_of_trial, number_of_weights
from va_search.search.space import load_space, read_space
from va_search.targets import Target
from va_search.trial import Best, Trial
from va_search.trial_settings import TrialSettings, trial_id

SPACE = "sampler: {sampler}\nbudget: {{trials: 4}}\n{header}settings:\n  features: [face]\n  width: 8\n{settings}"
Load = Callable[..., Space]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_target_store(tmp_path_factory.mktemp("three") / "store", THREE)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_target_store(tmp_path_factory.mktemp("one") / "store", ONE)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def read(store: Store, settings: str = "", header: str = "", sampler: str = "grid") -> Space:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE.format(sampler=sampler, header=header, settings=settings))
        return load_space(path, store)

    return read


def problems(call: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


def test_both_are_all_targets_at_once(load: Load, one: Store, three: Store) -> None:
    assert load(three, header="objective: both\n").measures == ("valence", "arousal", "stress")
    assert load(three, header="objective: stress\n").measures == ("stress",)
    assert load(one, header="objective: both\n").measures == ("engagement",)
    space = load(three, "  layers: {int: [1, 9]}\n", "objective: both\n", "tpe")
    sampler = Sampler(space, "tpe", 0)
    for number in range(12):
        asked, _ = sampler.ask()
        sampler.tell(asked, {str(number): (0.1 * number, 0.2, -0.1 * number)})
    assert len(sampler.study.directions) == 3 and len(sampler.study.best_trials) == 12


def test_a_target_of_another_store_is_refused_with_the_line(
    load: Load, one: Store, three: Store
) -> None:
    [objective, valence, weight] = problems(
        lambda: load(
            one, "  loss_valence: 2\n  loss_weights: {engagment: 2}\n", "objective: valence\n"
        )
    )
    assert "space.yaml:3: objective: unknown objective 'valence'" in objective
    assert "(known: both, engagement, ensemble, score)" in objective
    assert "loss_valence: this store has no target valence (it has: engagement)" in valence
    assert "loss_weights.engagment: unknown target 'engagment'; did you mean 'engagement'" in weight
    load(one, "  loss_valence: 1\n")  # as if it were not there
    assert "loss_arousal" in problems(lambda: load(three, "  loss_weights: {arousal: 2}\n"))[0]
    assert "unknown target" in problems(lambda: load(three, "  loss_weights.liking: 2\n"))[0]


def test_weights_are_fixed_or_searched_as_any_setting(load: Load, three: Store) -> None:
    weights = "  loss_weights: {stress: {choice: [0.5, 1, 2]}}\n"
    space = load(three, weights, "seeds: [0, 1]\n")
    trials = [trial for each in space.configurations() for trial in space.trials(each)]
    assert [trial.loss_weight("stress") for trial in trials[::2]] == [0.5, 1.0, 2.0]
    assert space.size() == 3 and all(space.contains(trial) for trial in trials)
    chosen = [space.configuration(trial) for trial in trials[::2]]
    assert chosen == list(space.configurations())
    # A weight of 1 is no weight: the trial is that of a space without.
    assert load(three, "", "seeds: [0, 1]\n").contains(trials[2])
    kept = read_space(space.document, three, path=Path("kept.yaml"), name="kept", kept=True)
    assert kept.size() == 3
    drawn = load(three, "  loss_weights: {stress: {float: [0.1, 10], log: true}}\n", sampler="tpe")
    asked, configuration = Sampler(drawn, "tpe", 0).ask()
    assert 0.1 <= configuration["loss_weights.stress"] <= 10
    rate = asked.point[0]["loss_weights.stress"]
    assert rate == pytest.approx(configuration["loss_weights.stress"], rel=1e-3)
    told = space.changes({**space.document, "settings": {"features": ["face"], "width": 8}})
    assert told == ["settings.loss_weights is new: {stress: {choice: [0.5, 1, 2]}}"]


def test_weights_of_1_and_those_not_given_mean_the_same(load: Load, tmp_path: Path) -> None:
    targets = (*THREE, Target("liking", 0.0, 9.0))
    space = load(make_target_store(tmp_path / "four", targets))
    given = [{"stress": 2}, {"liking": 1, "stress": 2}, {"stress": 2, "liking": 1}]
    several = [TrialSettings(features=("face",), loss_weights=weights) for weights in given]
    assert len({space.meaning(settings) for settings in several}) == 1
    assert len({trial_id(settings, "data") for settings in several}) == 1
    less = TrialSettings(features=("face",), loss_weights={"stress": 2, "liking": 0.5})
    assert space.meaning(less) != space.meaning(several[0])


def test_wrong_values_and_conditions_of_weights_have_their_line(load: Load, three: Store) -> None:
    [problem] = problems(lambda: load(three, "  loss_weights:\n    stress: -1\n"))
    assert "space.yaml:7: settings.loss_weights.stress: expected a number of 0 or more" in problem
    space = load(
        three,
        "  encoder: {choice: [gru, lstm]}\n"
        "  loss_weights: {stress: {choice: [2, 3], when: {encoder: [gru]}}}\n",
    )
    assert space.size() == 3


@pytest.mark.parametrize(
    "settings",
    [
        "  loss_valence: 0\n  loss_arousal: 0\n  loss_weights: {stress: 0}\n",
        "  loss_valence: 0\n  loss_arousal: 0\n  loss_weights: {stress: {choice: [0]}}\n",
    ],
)
def test_something_must_be_learnt(load: Load, three: Store, settings: str) -> None:
    assert "nothing to learn" in problems(lambda: load(three, settings))[0]


def test_one_target_with_weight_0_is_refused_and_another_may_be_left_out(
    load: Load, one: Store, three: Store
) -> None:
    [problem] = problems(lambda: load(one, "  loss_weights: {engagement: 0}\n"))
    assert "all targets (engagement) have weight 0 in the loss" in problem
    searched = load(one, "  loss_weights: {engagement: {choice: [0, 2]}}\n")
    assert searched.size() == 1
    alone = load(three, "  loss_valence: 0\n  loss_arousal: 0\n  loss_weights: {stress: 1}\n")
    [settings] = [alone.trials(each)[0] for each in alone.configurations()]
    assert [settings.loss_weight(name) for name in alone.targets] == [0.0, 0.0, 1.0]


# -- readiness, plan, sizes


def write_labels(folder: Path, **labels: float) -> Store:
    """Three recordings, one of them to validate, with one constant label per target (NaN: none);
    `pace` changes."""
    targets = (*(Target(name, 0.0, 9.0) for name in labels), Target("pace", 0.0, 9.0))
    splits = ("train", "train", "validation")
    sources = [Source(f"r{k}", f"s{k}", f"r{k}", split, None, 25.0, ()) for k, split in enumerate(splits)]  # fmt: skip
    draft = Draft(folder, Description("x", targets, {"face": ("visual", ("a",))}), sources)
    for index in range(len(splits)):
        columns = [np.full(40, value) for value in labels.values()]
        annotation = np.stack([*columns, np.linspace(1, 8, 40)], axis=1)
        draft.add(index, Part({"face": np.ones((40, 1), np.float32)}, annotation))
    return draft.finish()


def test_each_target_is_checked_by_itself(load: Load, tmp_path: Path) -> None:
    store = write_labels(tmp_path / "store", boredom=np.nan, liking=3.0)
    home = Home(tmp_path / "home")
    texts = problems(lambda: check_ready(home, load(store), store, Options()))
    assert len(texts) == 4
    assert "0 frames are labelled for boredom in the 2 training recordings" in texts[0]
    assert "liking is 3 in all 80 labelled frames of the 2 training recordings" in texts[1]
    assert texts[1].endswith("give objective: pace")
    assert "0 frames are labelled for boredom in the one validation recording" in texts[2]
    without = "  loss_weights: {boredom: 0, liking: 0}\n"
    left = problems(
        lambda: check_ready(home, load(store, without, "objective: pace\n"), store, Options())
    )
    assert len(left) == 1 and "boredom in the one validation recording" in left[0]
    fine = write_labels(tmp_path / "fine", liking=3.0)
    check_ready(home, load(fine, "", "objective: pace\n"), fine, Options())


def test_a_plan_counts_on_any_targets(load: Load, one: Store, three: Store, tmp_path: Path) -> None:
    for store in (one, three):
        last = store.target_names[-1]
        space = load(store, f"  loss_weights: {{{last}: {{choice: [1, 3]}}}}\n")
        plan = make_plan(Home(tmp_path / "home"), space, store, timed=False)
        assert (plan.configurations, plan.trials) == (2, 2)


def test_weights_and_predictions_are_counted_per_target(
    load: Load, one: Store, three: Store
) -> None:
    # gru on 1 or 3 columns: affine, 3 gates; then a head of 5 and the outputs
    for store, targets in ((one, 1), (three, 3)):
        body = (targets + 1) * 4 + 3 * 6 * (4 + 6 + 2)
        sizes = {"width": 4, "hidden_size": 6, "head_sizes": [5]}
        settings = TrialSettings(features=("face",), encoder="gru", heads="separate", **sizes)
        assert number_of_weights(settings, store) == body + targets * (7 * 5 + 6)
        shared = TrialSettings(features=("face",), encoder="gru", heads="shared", **sizes)
        assert number_of_weights(shared, store) == body + 7 * 5 + 6 * targets
        space = load(store, "  encoder: gru\n  hidden_size: 6\n  head_sizes: [5]\n")
        [settings] = [space.trials(each)[0] for each in space.configurations()]
        weights = number_of_weights(settings, store)
        frames = sum(recording.frames for recording in store.recordings[4:])
        assert disk_of_trial(space, store) == targets * 4 * (frames + weights)


def test_the_papers_searches_fit_any_targets(three: Store, one: Store) -> None:
    for store in (one, three):
        for fitted in fitted_spaces(store, "small"):
            space = read_space(
                fitted.document, store, path=Path(f"{fitted.name}.yaml"), name=fitted.name
            )
            assert space.targets == store.target_names


def test_a_fold_table_has_the_targets_of_its_trials() -> None:
    trials = []
    for fold, ccc in ((0, 0.2), (1, 0.6)):
        best = {"stress": Best(ccc, 1), "liking": Best(ccc / 2, 1), "score": Best(0.75 * ccc, 1)}
        settings = TrialSettings(features=("face",), fold=fold)
        trials.append(Trial("s", f"t{fold}", settings=settings, best=best))
    [row] = fold_table(trials, [], {0: 0, 1: 1})
    assert row.cells[1].values["liking"] == Spread(0.3, None, 1)
    assert row.average["stress"].mean == pytest.approx(0.4)
    assert row.average["liking"] == Spread(pytest.approx(0.2), pytest.approx(0.1414, abs=1e-4), 2)
