"""Search spaces: what they enumerate and propose, and what is refused, with the line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.search.budget import planned_trials
from va_search.search.configurations import Space
from va_search.search.space import load_space
from va_search.targets import affect
from va_search.trial_settings import TrialSettings

SETS = {
    "densenet": "visual",
    "fau": "visual",
    "mae": "visual",
    "hubert": "audio",
    "vggish": "audio",
}
SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
PAPER = {
    **dict.fromkeys(["densenet", "ires100", "fau", "ms_va", "mae"], "visual"),
    **dict.fromkeys(
        ["fbank", "egemaps", "compare", "vggish", "wav2vec", "hubert", "ecapatdnn"], "audio"
    ),
}
CASE = {
    **dict.fromkeys(["cardiac", "electrodermal", "respiration", "temperature"], "autonomic"),
    **dict.fromkeys(["trapezius", "zygomaticus", "corrugator"], "muscle"),
}
FITTING = {
    "demo": SETS,
    "again": {"player": "telemetry", "others": "telemetry"},
    "any": {"only": "visual"},
    "case": CASE,
    "case_recurrent": CASE,
    **dict.fromkeys(["paper", "paper_ablation", "paper_folds", "paper_mix"], PAPER),
}
EXPECTED = {
    "demo": (None, 16),
    "again": (None, 32),
    "any": (None, 40),
    "case": (None, 32),
    "case_recurrent": (None, 40),
    "paper": (1344, 120),
    "paper_ablation": (9, 27),
    "paper_folds": (1, 6),
    "paper_mix": (12, 12),
}
"""By space: configurations (None: endless) and trials, on a store with six folds."""
SIX_FOLDS = ("train", "train", "train", "train", "train", "validation", "test")


def write_store(
    folder: Path,
    sets: dict[str, str],
    splits: tuple[str, ...] = ("train", "train", "validation"),
    frames: int = 400,
) -> Store:
    """A store with these feature sets by modality, one recording of so many frames per split entry,
    folds 0, 1, …"""
    sources = [
        Source(f"r{i}", f"s{i}", f"r{i}", split, None if split == "test" else i, 25.0, ())
        for i, split in enumerate(splits)
    ]
    description = Description(
        "tiny", affect(-1.0, 1.0), {name: (modality, ()) for name, modality in sets.items()}
    )
    draft = Draft(folder, description, sources)
    for index in range(len(sources)):
        draft.add(index, Part({name: np.zeros((frames, 2), dtype=np.float32) for name in sets}))
    return draft.finish()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "store", SETS)


@pytest.fixture
def read(tmp_path: Path, store: Store) -> Any:
    """Read a space from its text; `settings` are indented below features, which stand first unless
    given."""

    def load(
        settings: str = "", header: str = "sampler: grid", features: str = "features: [fau]"
    ) -> Space:
        lines = [features, *settings.strip("\n").splitlines()]
        path = tmp_path / "space.yaml"
        path.write_text(header + "\nsettings:\n" + "".join(f"  {line}\n" for line in lines))
        return load_space(path, store)

    return load


def problems(read: Any, *arguments: str, **named: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(*arguments, **named)
    return [problem.split("space.yaml:", 1)[1] for problem in caught.value.problems]


RANDOM = "sampler: random\nbudget: {trials: 5}"


# -- what is in a space
# ----------------------------------------------------------------------------------------------


def test_a_space_of_plain_values_has_one_configuration(read: Any) -> None:
    space = read("epochs: 3\nlearning_rate: 1e-4")
    assert list(space.configurations()) == [
        {"features": ["fau"], "epochs": 3, "learning_rate": 0.0001}
    ]
    assert space.size() == 1
    assert (space.sampler, space.objective, space.seeds, space.folds) == (
        "grid",
        "score",
        [0],
        ["official"],
    )
    assert space.budget.trials is None
    assert space.early_stopping is None


def test_grid_order_is_the_declared_order_with_the_last_fastest(read: Any) -> None:
    space = read("encoder: {choice: [gru, lstm]}\nepochs: {int: [1, 5], step: 2}")
    pairs = [(each["encoder"], each["epochs"]) for each in space.configurations()]
    assert pairs == [("gru", 1), ("gru", 3), ("gru", 5), ("lstm", 1), ("lstm", 3), ("lstm", 5)]


def test_conditional_settings_exist_only_where_their_condition_holds(read: Any) -> None:
    space = read(
        "layers: {int: [1, 3], when: {encoder: transformer}}\nencoder: {choice: [gru, transformer]}"
    )
    found = list(space.configurations())
    assert [each.get("layers") for each in found if each["encoder"] == "gru"] == [None]
    assert [each["layers"] for each in found if each["encoder"] == "transformer"] == [1, 2, 3]
    assert space.size() == 4


def test_a_setting_out_of_play_takes_the_default(read: Any) -> None:
    space = read(
        "encoder: {choice: [gru, transformer]}\nlayers: {value: 7, when: {encoder: transformer}}"
    )
    trials = [space.trials(each)[0] for each in space.configurations()]
    assert {trial.encoder: trial.layers for trial in trials} == {"gru": 4, "transformer": 7}


def test_trials_are_folds_times_seeds(read: Any) -> None:
    space = read(header="sampler: grid\nseeds: [3, 5]\nfolds: [official, 1]")
    (configuration,) = space.configurations()
    found = [(trial.fold, trial.seed) for trial in space.trials(configuration)]
    assert found == [("official", 3), ("official", 5), (1, 3), (1, 5)]


def test_configurations_that_compute_the_same_are_one(read: Any) -> None:
    late = read(
        "fusion: {choice: [early, late]}",
        features="features: {choice: [[fau], [fau, mae], [fau, hubert]]}",
    )
    assert late.size() == 4  # only the two modalities together have a late fusion
    unused = read("encoder: gru\nlayers: {int: [1, 6]}\nstride: {choice: [null, 50, 150]}")
    assert unused.size() == 1
    stride = read("encoder: transformer\nstride: {choice: [null, 50, 150]}")
    assert stride.size() == 2  # the segment length as stride is no overlap


@pytest.mark.parametrize("fusion", ["late", "gated", "cross_attention"])
def test_a_fusion_of_one_modality_is_trained_as_early(read: Any, fusion: str) -> None:
    space = read(f"fusion: {fusion}", features="features: [fau, mae]")
    (configuration,) = space.configurations()
    assert [trial.fusion for trial in space.trials(configuration)] == ["early"]


def test_options_of_a_fusion_that_becomes_early_count_once(read: Any) -> None:
    options = "fusion: cross_attention\nfusion_options: {recursions: {choice: [1, 2]}}"
    assert read(options, features="features: [fau, mae]").size() == 1
    both = read(options, features="features: [fau, hubert]")
    assert both.size() == 2
    for configuration in both.configurations():
        trial = both.trials(configuration)[0]
        assert both.configuration(trial) == configuration


def test_invalid_combinations_are_no_configurations(read: Any) -> None:
    space = read("width: {choice: [64, 96]}\nattention_heads: {choice: [4, 5, 32]}")
    pairs = {(each["width"], each["attention_heads"]) for each in space.configurations()}
    assert pairs == {(64, 4), (64, 32), (96, 4), (96, 32)}
    with pytest.raises(InputError, match="width=64, attention_heads=5"):
        space.trials({"features": ["fau"], "width": 64, "attention_heads": 5})


def test_a_range_of_numbers_makes_a_space_infinite(read: Any) -> None:
    space = read("learning_rate: {float: ['1e-4', 3e-3], log: true}", header=RANDOM)
    assert space.size() is None
    assert space.size_is_exact
    with pytest.raises(ValueError, match="infinitely many"):
        next(space.configurations())


def test_large_spaces_are_bounded_from_above_and_not_walked(read: Any) -> None:
    space = read(
        "epochs: {int: [1, 1000]}\nwidth: {int: [1, 1000]}\nencoder: gru\nlayers: {choice: [1, 2]}"
    )
    assert space.size() == 2_000_000
    assert not space.size_is_exact


# -- feature sets
# ----------------------------------------------------------------------------------------------------


def test_all_stands_for_every_feature_set_of_the_store(read: Any) -> None:
    assert next(read(features="features: all").configurations())["features"] == sorted(SETS)


def test_subsets_are_bounded_per_modality_and_in_all(read: Any) -> None:
    text = (
        "features: {subset: {visual: {of: all, min: 1, max: 2}, audio: [hubert, vggish]}, max: 3}"
    )
    space = read(features=text)
    found = [tuple(each["features"]) for each in space.configurations()]
    visual = [sum(SETS[name] == "visual" for name in names) for names in found]
    assert (
        len(found) == len(set(found)) == space.size() == 6 * 1 + 6 * 2 + 3 * 1
    )  # audio: none, one, two
    assert set(visual) == {1, 2}
    assert max(map(len, found)) == 3


def test_a_subset_is_never_empty(read: Any) -> None:
    space = read(
        features="features: {subset: {visual: {of: [fau], max: 1}, audio: {of: [hubert], max: 1}}}"
    )
    assert [each["features"] for each in space.configurations()] == [
        ["hubert"],
        ["fau"],
        ["fau", "hubert"],
    ]


def test_all_with_a_larger_maximum_fits_small_stores(read: Any) -> None:
    assert read(features="features: {subset: all, min: 1, max: 40}").size() == 2**5 - 1


def test_a_share_of_the_feature_sets_is_rounded_up(read: Any) -> None:
    space = read(features="features: {subset: all, min: 0.5}")
    assert {len(each["features"]) for each in space.configurations()} == {3, 4, 5}
    [problem] = problems(read, features="features: {subset: all, min: 1.5}")
    assert "expected a whole number, or a share below 1; found 1.5" in problem
    [problem] = problems(read, features="features: {subset: all, min: .inf}")
    assert "found inf" in problem


def test_steps_per_second_become_the_nearest_frames_of_the_store(read: Any, store: Store) -> None:
    frames_per_second = max(recording.frames_per_second for recording in store.recordings)
    space = read(f"frame_step: {{steps_per_second: [{frames_per_second / 4}, 1000, 2000]}}")
    # more steps than frames: every frame, once
    assert [each["frame_step"] for each in space.configurations()] == [4, 1]
    assert space.document["settings"]["frame_step"].keys() == {"steps_per_second"}


@pytest.mark.parametrize("rates", ["0", "[]", "[1, fast]", "true", "[1, -2]", ".inf", "1e-310"])
def test_steps_per_second_are_numbers_above_zero(read: Any, rates: str) -> None:
    [problem] = problems(read, f"frame_step: {{steps_per_second: {rates}}}")
    assert "steps_per_second: [1, 2]" in problem


# -- proposals
# -------------------------------------------------------------------------------------------------------

RICH = """
encoder: {choice: [gru, transformer, transformer_lstm]}
fusion: {choice: [early, late]}
layers: {int: [1, 3], when: {encoder: [transformer, transformer_lstm]}}
learning_rate: {float: [1e-4, 3e-3], log: true}
stride: {choice: [null, 50, 150]}
head_sizes: {choice: [[64], [64, 32]]}
clip_gradient: {choice: [null, 5]}
compile: {choice: [true, false]}
"""
SUBSET = "features: {subset: {visual: {of: all, min: 0, max: 2}, audio: {of: all, min: 0, max: 2}}, min: 2, max: 3}"


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_proposals_lie_in_the_space_and_come_back_from_their_parameters(
    read: Any, sampler: str
) -> None:
    space = read(
        RICH, header=f"sampler: {sampler}\nbudget: {{trials: 5}}\nseeds: [0, 1]", features=SUBSET
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {
        "random": optuna.samplers.RandomSampler(seed=0),
        "tpe": optuna.samplers.TPESampler(seed=0),
    }
    study = optuna.create_study(sampler=samplers[sampler])
    for number in range(60):
        asked = study.ask()
        configuration = space.suggest(asked)
        assert 2 <= len(configuration["features"]) <= 3
        assert ("layers" in configuration) == (configuration["encoder"] != "gru")
        assert json.loads(json.dumps(configuration)) == configuration
        found = space.optuna_parameters(configuration)
        assert found is not None
        assert space.suggest(optuna.trial.FixedTrial(found[0])) == configuration
        for trial in space.trials(configuration):
            assert space.contains(trial)
            again = space.optuna_parameters(trial)
            assert again is not None
            optuna.trial.create_trial(params=again[0], distributions=again[1], value=0.5)
            assert (
                space.trials(space.suggest(optuna.trial.FixedTrial(again[0])))[trial.seed] == trial
            )
        study.tell(asked, number % 7)


def test_subsets_of_every_size_are_proposed(read: Any) -> None:
    space = read(header=RANDOM, features="features: {subset: all, min: 1, max: 3}")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [space.suggest(study.ask())["features"] for _ in range(150)]
    sizes, names = Counter(map(len, found)), Counter(name for each in found for name in each)
    assert set(sizes) == {1, 2, 3}
    assert min(sizes.values()) > 25
    assert min(names[name] for name in SETS) > 30


def test_tpe_learns_which_feature_set_pays(read: Any) -> None:
    space = read(header=RANDOM, features="features: {subset: all, min: 1, max: 2}")
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    taken = []
    for _ in range(60):
        asked = study.ask()
        features = space.suggest(asked)["features"]
        taken.append("hubert" in features)
        study.tell(asked, float("hubert" in features))
    assert sum(taken[-20:]) > sum(taken[:20]) + 5


def test_what_lies_outside_has_no_parameters(read: Any) -> None:
    space = read(
        "epochs: {int: [1, 9], step: 2}\nencoder: {choice: [gru, lstm]}",
        header="sampler: grid\nseeds: [4]",
    )
    inside = {"features": ["fau"], "epochs": 3, "encoder": "gru"}
    assert space.optuna_parameters(inside) is not None
    for change in (
        {"epochs": 4},
        {"epochs": 11},
        {"encoder": "transformer"},
        {"features": ["mae"]},
        {"width": 4},
    ):
        assert space.optuna_parameters({**inside, **change}) is None
    assert space.contains(TrialSettings(features=("fau",), epochs=3, encoder="gru", seed=4))
    assert not space.contains(TrialSettings(features=("fau",), epochs=3, encoder="gru", seed=0))
    assert not space.contains(
        TrialSettings(features=("fau",), epochs=3, encoder="gru", seed=4, fold=1)
    )
    assert not space.contains(
        TrialSettings(features=("fau",), epochs=3, encoder="gru", seed=4, width=8)
    )


def test_every_trial_of_a_grid_is_contained_in_it(read: Any) -> None:
    text = RICH.replace("{float: [1e-4, 3e-3], log: true}", "{choice: [1e-4, 3e-3]}")
    space = read(text, features="features: {choice: [[fau], [fau, hubert]]}")
    trials = [trial for each in space.configurations() for trial in space.trials(each)]
    assert len(trials) == len(set(trials)) == space.size()
    assert all(space.contains(trial) for trial in trials)


def test_changes_are_told_in_plain_words(read: Any) -> None:
    old = read("epochs: 3\nwidth: 64", header="sampler: grid\nseeds: [0]").document
    new = read("epochs: {choice: [3, 5]}\nlayers: 2", header="sampler: grid\nseeds: [0, 1]")
    assert new.changes(old) == [
        "seeds was [0], now is [0, 1]",
        "settings.epochs was 3, now is {choice: [3, 5]}",
        "settings.layers is new: 2",
        "settings.width is gone; it was 64",
    ]
    assert new.changes(new.document) == []


# -- what is refused
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("epoch: 3", "4: settings.epoch: unknown setting 'epoch'; did you mean 'epochs'? (known: attention_heads, "),
        ("seed: 3", "4: settings.seed: `seed` is no setting of a space; use `seeds` at the top level"),
        ("encoder: gruu", "4: settings.encoder: unknown encoder 'gruu'; did you mean 'gru'? (known: bigru, bilstm, gru, "),
        ("encoder: {choice: [gru, rnn]}", "4: settings.encoder.choice[1]: unknown encoder 'rnn'"),
        ("encoder: [gru, lstm]", "4: settings.encoder: expected one value, found the list ['gru', 'lstm']; to vary it"),
        ("epochs: [1, 2]", "expected one value, found the list [1, 2]; to vary it write {choice: [1, 2]}"),
        ("epochs: many", "4: settings.epochs: expected a whole number, found 'many'"),
        ("epochs: 0", "expected a number of 1 or more, found 0"),
        ("epochs: yes", "4: YAML reads yes as true; write true"),
        ("epochs: 2.5", "expected a whole number, found 2.5"),
        ("learning_rate: .inf", "expected a finite number"),
        ("learning_rate: .nan", "expected a number above 0, found nan"),
        ("encoder_dropout: 1", "expected a number below 1, found 1"),
        ("clip: none", "4: settings.clip: expected a number or null, found 'none'"),
        ("head_sizes: [64, 0]", "expected a number of 1 or more, found 0"),
        ("epochs: {choice: []}", "4: settings.epochs.choice: expected a list of 1 or more, found []"),
        ("epochs: {choice: [3, 4, 3]}", "4: settings.epochs.choice[2]: 3 is given twice; keep one"),
        ("learning_rate: {choice: [0.001, 1e-3]}", "'1e-3' is given twice"),
        ("epochs: {int: [5, 3]}", "`low <= high` must hold, but got (low=5, high=3)"),
        ("epochs: {int: [0, 3]}", "4: settings.epochs.int[0]: expected a number of 1 or more, found 0"),
        ("epochs: {int: 3}", "expected [low, high]; found 3"),
        ("epochs: {int: [1, 3], step: 0}", "4: settings.epochs.step: expected a number of 1 or more, found 0"),
        ("epochs: {int: [1, 9], step: 2, log: true}", "`step` can't go with log: true"),
        ("epochs: {int: [1, 3], steps: 2}", "4: settings.epochs.steps: unknown key 'steps'; did you mean 'step'?"),
        ("epochs: {ints: [1, 3]}", "expected a plain value or one of choice, int, float, value; found {'ints': [1, 3]}"),
        ("epochs: {int: [1, 3], choice: [1]}", "float, value; found {'int': [1, 3], 'choice': [1]}"),
        ("epochs: {float: [1, 3]}", "`epochs` takes no range of float; its kind: whole numbers"),
        ("encoder: {int: [1, 3]}", "`encoder` takes no range of int; its kind: names"),
        ("weight_decay: {float: [0, 1], log: true}", "`low > 0` must hold where log is true, but got (low=0.0)"),
        ("learning_rate: {float: [1e-4, 1e-3]}", "4: settings.learning_rate.float: a float range has no grid"),
        ("epochs: {value: 3, when: {encoders: gru}}", "4: settings.epochs.when.encoders: unknown setting of this"),
        ("epochs: {value: 3, when: gru}", "4: settings.epochs.when: expected settings and their values"),
        ("epochs: {value: 3, when: {features: fau}}", "a condition needs a setting with separate values"),
        (
            "encoder: gru\nlayers: {value: 3, when: {encoder: lstm}}",
            "5: settings.layers.when.encoder: `encoder` never is 'lstm' in this space, so the condition would exclude",
        ),
        (
            "layers: {value: 3, when: {width: 8}}\nwidth: {value: 8, when: {layers: 3}}",
            "4: settings.layers.when: conditions go in a circle: layers → width → layers",
        ),
        ("layers: {value: 3, when: {layers: 3}}", "conditions go in a circle: layers → layers"),
        (
            "encoder: {choice: [gru, lstm]}\nlayers: {choice: [1, 2], when: {encoder: gru}}\n"
            "width: {value: 8, when: {encoder: lstm, layers: 2}}",
            "6: settings.width.when: these conditions never hold together",
        ),
        ("width: 10\nattention_heads: 4", "2: settings: no configuration is valid; of the last one tried: `width`"),
        ("loss_valence: 0\nloss_arousal: 0", "no configuration is valid"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_with_their_line(read: Any, settings: str, told: str) -> None:
    assert any(told in problem for problem in problems(read, settings)), problems(read, settings)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        ("features: [fua]", "3: settings.features: unknown feature set 'fua'; did you mean 'fau'? (known: densenet, "),
        ("features: {choice: [[fau], [fau, fau]]}", "3: settings.features.choice[1]: a feature set is given twice"),
        ("features: {choice: [[fau, mae], [mae, fau]]}", "choice[1]: ['mae', 'fau'] is given twice"),
        ("features: []", "expected names of feature sets, or all; found []"),
        ("features: 3", "expected names of feature sets, or all; found 3"),
        ("features: {subset: {video: all}}", "subset.video: unknown modality 'video' (known: audio, visual"),
        ("features: {subset: {visual: [hubert]}}", "not of modality 'visual': hubert (it has: densenet, fau, mae)"),
        ("features: {subset: {visual: {of: all, mn: 1}}}", "unknown key 'mn'; did you mean 'min'?"),
        ("features: {subset: {visual: {of: all, min: 4}}}", "but got (min=4, 3)"),
        ("features: {subset: {visual: {of: [fau, mae], max: 3}}}", "but got (max=3, 2)"),
        ("features: {subset: all, min: 3, max: 2}", "`min <= max` must hold, but got (min=3, max=2)"),
        ("features: {subset: all, min: 6}", "`min` can't be more than the feature sets there are, but got (min=6, 5)"),
        ("features: {subset: all, max: 0}", "a trial needs at least one feature set"),
        ("features: {subset: all, min: 0}", "a trial needs at least one feature set"),
        ("features: {subset: {visual: {of: all, max: 0}}}", "no subset fits: the modalities allow 0 to 0"),
        ("features: {subset: {visual: {of: all, min: 2}, audio: {of: all, min: 2}}, max: 3}", "no subset fits"),
        ("features: {subset: {}}", "expected one modality or more, found {}"),
        ("features: {subset: all, min: -1}", "settings.features.min: expected a number of 0 or more, found -1"),
        ("features: {subset: all, when: {epochs: 3}}", "features are always in play and take no `when`"),
        ("features: {pick: all}", "expected a plain value or one of choice, subset, value; found {'pick': 'all'}"),
        ("epochs: 3", "2: settings.features: missing; expected feature sets, such as features: all"),
    ],
)  # fmt: skip
def test_wrong_feature_sets_are_refused_with_their_line(
    read: Any, features: str, told: str
) -> None:
    assert any(told in problem for problem in problems(read, features=features)), problems(
        read, features=features
    )


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("sampler: bayes", "1: sampler: unknown sampler 'bayes' (known: gp, grid, random, tpe)"),
        (
            "objective: score",
            "1: sampler: missing; expected grid (every configuration), random, tpe or gp",
        ),
        (
            "sampler: grid\nobjektive: score",
            "2: objektive: unknown key 'objektive'; did you mean 'objective'?",
        ),
        ("sampler: grid\nseeds: []", "2: seeds: expected a list of 1 or more, found []"),
        ("sampler: grid\nseeds: [0, -1]", "2: seeds[1]: expected a number of 0 or more, found -1"),
        ("sampler: grid\nseeds: [0, 0]", "`seeds` [0, 0]: one is given twice"),
        ("sampler: grid\nseeds: 3", "2: seeds: expected a list, found 3"),
        (
            "sampler: grid\nfolds: [7]",
            "2: folds[0]: unknown fold 7 (known: 0, 1, 2, official, train_val_mix)",
        ),
        ("sampler: grid\nfolds: [offical]", "unknown fold 'offical'; did you mean 'official'?"),
        (
            "sampler: grid\nbudget: {trials: 0}",
            "2: budget.trials: expected a number of 1 or more, found 0",
        ),
        (
            "sampler: grid\nbudget: {hours: -1}",
            "2: budget.hours: expected a number above 0, found -1",
        ),
        (
            "sampler: grid\nbudget: {hour: 1}",
            "2: budget.hour: unknown key 'hour'; did you mean 'hours'?",
        ),
        ("sampler: grid\nbudget: 5", "2: budget: expected a mapping (key: value), found 5"),
        (
            "sampler: grid\nearly_stopping: {grace_epochs: 0}",
            "early_stopping.grace_epochs: expected a number of 1",
        ),
        (
            "sampler: grid\nearly_stopping: {reduction_factor: 1}",
            "reduction_factor: expected a number of 2 or more",
        ),
        ("sampler: tpe", "`budget.trials` must be given for sampler tpe"),
        ("sampler: random\nbudget: {hours: 1}", "`budget.trials` must be given for sampler random"),
        ("sampler: grid\nsampler: tpe", "2: key 'sampler' is given twice"),
        (
            "sampler: grid\nfolds: every",
            "2: folds: expected all, or a list such as [official]; found 'every'",
        ),
        ("sampler: grid\nfolds: [2, official]", "2: folds: fold 2 of "),
        ("sampler: grid\nfolds: [train_val_mix]", "has no test recordings"),
        (
            "sampler: tpe\nbudget: {trials: 3}\nfolds: [train_val_mix]",
            "sampler tpe goes by: take sampler grid",
        ),
        (
            "sampler: grid\nfolds: [0, train_val_mix]\nearly_stopping: {}",
            "which `early_stopping` goes by",
        ),
        (
            "sampler: grid\nobjective: ensemble",
            "objective ensemble tells the sampler what trials add, but grid learns nothing",
        ),
    ],
)
def test_wrong_headers_are_refused_with_their_line(read: Any, header: str, told: str) -> None:
    assert any(told in problem for problem in problems(read, header=header)), problems(
        read, header=header
    )


def test_all_problems_come_at_once_in_the_order_of_their_lines(read: Any) -> None:
    found = problems(
        read, "epoch: 3\nwidth: {int: [9, 3]}\nencoder: rnn", "sampler: bayes", "features: [fua]"
    )
    assert [problem.split(":")[0] for problem in found] == ["1", "3", "4", "5", "6"]


def test_a_fold_without_training_recordings_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", SETS, splits=("validation", "test"))
    path = tmp_path / "space.yaml"
    path.write_text("sampler: grid\nsettings: {features: all}\n")
    with pytest.raises(InputError, match=r"fold 'official' of .* has no training recordings"):
        load_space(path, store)


@pytest.mark.parametrize(
    "text", ["", "- a\n", "sampler: [\n", "\x00", "settings: 3\nsampler: grid\n"]
)
def test_what_is_no_space_is_refused(tmp_path: Path, store: Store, text: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"space\.yaml"):
        load_space(path, store)


def test_a_missing_file_is_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_space(tmp_path / "nowhere.yaml", store)


# -- the spaces that are shipped
# -------------------------------------------------------------------------------------


def test_every_shipped_space_has_a_fitting_store_here() -> None:
    assert len(SHIPPED) >= 8
    assert {path.stem for path in SHIPPED} == set(FITTING) == set(EXPECTED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_have_as_many_trials_as_their_header_says(
    tmp_path: Path, path: Path
) -> None:
    space = load_space(path, write_store(tmp_path / "store", FITTING[path.stem], SIX_FOLDS))
    configurations, trials = EXPECTED[path.stem]
    assert (space.size(), planned_trials(space)) == (configurations, trials)
    if path.stem != "paper_folds":  # "one trial for each fold"
        assert f"{trials} trials" in path.read_text().split("\nsampler:")[0]


def test_the_ablation_differs_in_features_alone(tmp_path: Path) -> None:
    path = SHIPPED[[one.stem for one in SHIPPED].index("paper_ablation")]
    space = load_space(path, write_store(tmp_path / "store", PAPER, SIX_FOLDS))
    found = [space.trials(one) for one in space.configurations()]
    assert (
        len({trial.model_copy(update={"features": ("x",)}) for trials in found for trial in trials})
        == 3
    )  # seeds
    assert ("ecapatdnn", "fau", "fbank", "ms_va", "wav2vec") in [
        trials[0].features for trials in found
    ]
    assert all(trial == TrialSettings(features=trial.features, normalise="none", seed=trial.seed)
               for trials in found for trial in trials)  # fmt: skip  # 4.2 are the defaults


def test_the_papers_folds_end_with_the_official_one_and_the_mix_has_none(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", PAPER, SIX_FOLDS)
    folds, mix = (
        load_space(SHIPPED[0].parent / f"paper_{name}.yaml", store) for name in ("folds", "mix")
    )
    assert [trial.fold for one in folds.configurations() for trial in folds.trials(one)] == [
        0,
        1,
        2,
        3,
        4,
        "official",
    ]
    mixed = [trial for one in mix.configurations() for trial in mix.trials(one)]
    assert {(trial.fold, trial.averaged_epochs) for trial in mixed} == {("train_val_mix", (16, 25))}
    assert all(mix.contains(trial) for trial in mixed)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_fit_and_propose(tmp_path: Path, path: Path) -> None:
    space = load_space(path, write_store(tmp_path / "store", FITTING[path.stem], SIX_FOLDS))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = {trial for _ in range(60) for trial in space.trials(space.suggest(study.ask()))}
    every = {"lstm", "gru", "transformer", "transformer_lstm"}
    # a trial of another family has the default encoder, which it does not use
    encoders = {trial.encoder for trial in found if trial.family == "network"}
    fixed = {
        "paper_ablation": {"transformer"},
        "paper_folds": {"transformer"},
        "paper_mix": every - {"gru"},
    }
    expected = {
        **fixed,
        "case_recurrent": {"lstm", "gru"},
        "again": {"lstm", "bilstm"},
        "any": {"mlp", "lstm", "bilstm", "gru", "tcn", "transformer"},
        "case": {"mlp", "lstm", "bilstm"},
    }
    assert encoders == expected.get(path.stem, every)
    assert {trial.fusion for trial in found} == (
        {"early"} if path.stem in {"again", "any", "case", *fixed} else {"early", "late"}
    )
    assert all(space.contains(trial) for trial in found)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_say_what_they_are_for_cost_and_reached(path: Path) -> None:
    header = path.read_text().split("\nsampler:")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert "# Cost:" in header
    assert "# Reached:" in header


def test_the_case_space_fits_the_recordings(case_folder: Path, tmp_path: Path) -> None:
    import yaml

    declared = yaml.safe_load((case_folder / "dataset.yaml").read_text())["features"]
    assert {name: entry["modality"] for name, entry in declared.items()} == CASE


def test_a_recipe_given_as_a_search_space_is_called_one(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "greedy.yaml"
    path.write_text("method: greedy\nsteps: 20\n")
    with pytest.raises(
        InputError, match=r"greedy\.yaml: this is a recipe .* expected a search space"
    ):
        load_space(path, store)


def test_an_objective_is_a_target_of_the_store_or_stands_for_them(read: Any) -> None:
    measures = {"score": ("score",), "ensemble": ("score",), "arousal": ("arousal",)}
    for objective, expected in {**measures, "both": ("valence", "arousal")}.items():
        space = read(header=f"{RANDOM}\nobjective: {objective}".replace("random", "tpe"))
        assert space.measures == expected
    with pytest.raises(InputError, match="unknown objective 'arousl'; did you mean 'arousal'") as e:
        read("epochs: 0", header="sampler: grid\nobjective: arousl")
    assert len(e.value.problems) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "loss_weights: {valence: 2}",
            "loss_weights.valence: the weight of valence is the setting",
        ),
        ("loss_weights: {likin: 2}", "loss_weights.likin: unknown target 'likin'"),
        ("loss_weights: 2", "settings.loss_weights: expected weights by target, such as"),
    ],
)
def test_wrong_weights_of_targets_are_refused(read: Any, settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(settings)


def test_the_configuration_noted_with_a_trial_is_the_one_it_came_from(read: Any) -> None:
    text = "encoder: {choice: [gru, transformer]}\nlayers: {choice: [1, 2]}\nwidth: {value: 8, when: {layers: [1]}}"
    space = read(text)
    noted = {"features": ["fau"], "encoder": "gru", "layers": 2}
    [trial] = space.trials(noted)
    # To a GRU layers are nothing: settings alone show the first that leads to this width.
    assert space.configuration(trial, noted) == noted == space.configuration(trial)
    [other] = space.trials({**noted, "layers": 1, "width": 8})
    assert space.configuration(other) == {**noted, "layers": 1, "width": 8}
    two = {"features": ["fau"], "encoder": "gru", "layers": 1}
    same_trial = read(text.replace("width", "# width"))
    [trial] = same_trial.trials(two)
    assert same_trial.configuration(trial, {**two, "layers": 2}) == {**two, "layers": 2}
    # What the space no longer has, or another trial's, is read off the settings instead.
    assert same_trial.configuration(trial, {**two, "layers": 3}) == two
    assert same_trial.configuration(trial, {**two, "encoder": "transformer"}) == two
    assert same_trial.configuration(trial, noted={}) == two
    assert same_trial.contains(trial, {**two, "layers": 2})
