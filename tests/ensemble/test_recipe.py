"""Recipes: the shipped ones load, a wrong one says everything at once."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from va_search.ensemble.methods import METHODS, OPTIONS
from va_search.ensemble.post_processing import PostProcessing
from va_search.ensemble.recipe import known_recipes, load_recipe, read_recipe
from va_search.errors import InputError
from va_search.targets import AFFECT

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "ensembles").glob("*.yaml"))


def test_the_menu_has_options_for_every_method() -> None:
    assert set(OPTIONS) == set(METHODS)
    for name, options in OPTIONS.items():
        assert options().method == name
        parameters = inspect.signature(METHODS[name]).parameters
        defaults = {
            key: parameters[key].default for key in set(parameters) - {"statistics", "times"}
        }
        assert options().model_dump(exclude={"method"}) == defaults


def test_the_shipped_recipes() -> None:
    shipped = {"best", "mean", "top_k", "greedy", "bagged_greedy", "exact", "nnls_matched"}
    assert {path.stem for path in SHIPPED} == {*shipped, "auto", "over_folds"}
    auto = load_recipe("auto")
    assert {one.name for one in auto.among} == shipped and auto.default is None and not auto.own
    assert load_recipe("nnls_matched").plan("valence").shared.match == [True]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_say_what_they_do(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.read_text().startswith("# ") and recipe.name == path.stem


def test_a_bare_name_is_looked_up_in_ensembles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ensembles").mkdir()
    (tmp_path / "ensembles" / "mine.yaml").write_text("method: mean\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("mine").plan("arousal").method == "mean"
    assert load_recipe("best").plan("valence").method == "best"  # the repository's, from anywhere
    (tmp_path / "ensembles" / "best.yaml").write_text("method: top_k\nk: 1\n")
    assert load_recipe("best").plan("valence").method == "top_k"
    assert known_recipes()["best"] == Path("ensembles/best.yaml")
    with pytest.raises(
        InputError,
        match=r"unknown recipe 'mein'; did you mean 'mine'\?.*known: auto, bagged_greedy",
    ):
        load_recipe("mein")
    with pytest.raises(InputError, match=r"elsewhere/mine\.yaml: no such recipe file"):
        load_recipe("elsewhere/mine.yaml")


def test_the_papers_five_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((SHIPPED[0].parent / "paper").glob("*.yaml"))
    recipes = {path.stem: load_recipe(f"paper/{path.stem}") for path in files}
    assert set(recipes) == {"ensemble_1", "ensemble_2", "train_val_mix", "ensemble_3", "six_fold"}
    assert all(path.read_text().startswith("# Submission ") for path in files)
    first, second = recipes["ensemble_1"], recipes["ensemble_2"]
    assert {d: plan.options for d, plan in first.plans(AFFECT).items()} == {
        "valence": OPTIONS["top_k"](k=7),
        "arousal": OPTIONS["top_k"](k=12),
    }
    assert [second.plan(d).shared.prune.top for d in ("valence", "arousal")] == [7, 12]
    assert {one.members.folds for one in (first, second)} == {"official"}
    assert [(share, one.name) for share, one in recipes["ensemble_3"].of] == [
        (0.5, "ensemble_1"),
        (0.5, "train_val_mix"),
    ]
    assert (
        recipes["six_fold"].members.folds == "all"
        and recipes["train_val_mix"].members.folds == "train_val_mix"
    )
    assert not set(recipes) & set(known_recipes())  # --compare ranks those beside the folder only
    (tmp_path / "ensembles" / "paper").mkdir(parents=True)
    (tmp_path / "ensembles" / "paper" / "six_fold.yaml").write_text("method: best\n")
    assert load_recipe("paper/six_fold").plan("valence").method == "best"
    with pytest.raises(InputError, match=r"paper/seven: no such recipe file"):
        load_recipe("paper/seven")


def test_a_recipe_over_other_folds_says_so() -> None:
    recipe = load_recipe("greedy").over("all")
    assert recipe.members.folds == "all" and recipe.members.outside
    assert recipe.document["members"] == {"outside": True, "folds": "all"}
    for name in ("paper/ensemble_3", "paper/train_val_mix"):
        with pytest.raises(InputError, match="its members' folds can't be changed to all"):
            load_recipe(name).over("all")


def test_a_target_may_differ() -> None:
    document = {
        "method": "greedy",
        "steps": 9,
        "valence": {"steps": 3},
        "arousal": {"method": "top_k", "k": 2},
    }
    recipe = read_recipe("r", document)
    assert {d: plan.options for d, plan in recipe.plans(AFFECT).items()} == {
        "valence": OPTIONS["greedy"](steps=3),
        "arousal": OPTIONS["top_k"](k=2),
    }
    assert recipe.members.outside


def test_what_every_method_shares() -> None:
    document = {
        "method": "greedy",
        "shrink": "auto",
        "match": True,
        "prune": {"top": 5},
        "smooth": {"kind": "savitzky_golay", "seconds": [0, 2]},
        "delay": {"seconds": 0.5},
        "arousal": {"method": "mean", "smooth": "none", "shrink": 0},
    }
    plans = read_recipe("r", document).plans(AFFECT)
    valence, arousal = plans["valence"].shared, plans["arousal"].shared
    assert 0.5 in valence.shrink and len(valence.shrink) > 2 and arousal.shrink == [0.0]
    assert (valence.match, valence.prune.top, arousal.prune.top) == ([True], 5, 5)
    assert plans["valence"].filters == [
        PostProcessing("none", 0.0, 0.5),
        PostProcessing("savitzky_golay", 2.0, 0.5),
    ]
    assert plans["arousal"].filters == [PostProcessing("none", 0.0, 0.5)]
    assert read_recipe("r", {"method": "mean", "match": "auto"}).plan("valence").shared.match == [
        True,
        False,
    ]


def test_every_problem_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "method: greedy\nstep: 5\nstart: zero\nmembers: {outsid: true}\n"
        "valence:\n  method: bst\narousal:\n  k: 0\n  method: top_k\n"
    )
    with pytest.raises(InputError) as error:
        load_recipe(path)
    found = sorted(error.value.problems)
    assert [problem.split(":")[1] for problem in found] == ["2", "3", "4", "6", "8"]
    assert "'step'; did you mean 'steps'?" in found[0]
    assert "start: expected a whole number, found 'zero'" in found[1]
    assert "did you mean 'outside'?" in found[2]
    assert "unknown method 'bst'; did you mean 'best'?" in found[3]
    assert "arousal.k: expected a number of 1 or more, found 0" in found[4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "bad.yaml:1: expected an ensemble recipe, a mapping (key: value); found null"),
        ("- greedy\n", "expected an ensemble recipe, a mapping (key: value); found ['greedy']"),
        (
            "steps: 3\n",
            "method: missing; expected one of best, mean, top_k, greedy, bagged_greedy, exact, ridge",
        ),
        (
            "method: best\nshrink: 2\n",
            "bad.yaml:2: shrink[0]: expected a number of 1 or less, found 2",
        ),
        (
            "method: best\nprune:\n  tp: 3\n",
            "bad.yaml:3: prune.tp: unknown key 'tp'; did you mean 'top'?",
        ),
        (
            "method: best\nsmooth:\n  kind: mean\n  seconds: 1\n",
            "bad.yaml:3: smooth.kind: unknown kind 'mean' (known: moving_average, savitzky_golay)",
        ),
        (
            "method: best\nsmooth: {seconds: [0, -1]}\n",
            "bad.yaml:2: smooth.seconds[1]: expected a number of 0 or more, found -1",
        ),
        (
            "method: best\nmatch: maybe\n",
            "bad.yaml:2: match[0]: expected true, false or 'partial'; found 'maybe'",
        ),
        (
            "method: ridge\nmatch_members: true\n",
            "bad.yaml:2: match_members: method ridge has negative weights",
        ),
        (
            "method: best\ntoward: greedy\n",
            "bad.yaml:2: toward: unknown toward 'greedy' (known: equal, nnls)",
        ),
        (
            "method: best\nprune: {helpfull: true}\n",
            "prune.helpfull: unknown key 'helpfull'; did you mean 'helpful'?",
        ),
        (
            "method: mean\nmatch_members: true\nmembers: {folds: train_val_mix}\n",
            "bad.yaml:2: match_members: members trained on",
        ),
        (
            "method: best\ndelay: 3\n",
            "bad.yaml:2: delay: expected a mapping (key: value) or null, found 3",
        ),
        ("method: auto\n", "among: missing; expected a list"),
        ("method: auto\namong: [best]\n", "among: expected a list of 2 or more, found ['best']"),
        (
            "method: auto\namong:\n- best\n- men\n",
            "bad.yaml:4: among[1]: unknown recipe 'men'; did you mean 'mean'?",
        ),
        ("method: auto\namong: [best, best]\n", "recipe 'best' is given twice"),
        ("method: auto\namong: [best, auto]\n", "is of method auto itself"),
        (
            "method: auto\namong: [best, mean]\nvalence: {k: 3}\n",
            "auto chooses for each target by itself",
        ),
        ("method: best\nvalence: {method: auto}\n", "belongs at the top of a file"),
        (
            "method: best\nk: 3\n",
            "bad.yaml:2: k: unknown key 'k' (known: delay, match, match_members, method, prune, ",
        ),
        ("method: [best]\n", "unknown method"),
        (
            "method: best\nvalence: greedy\n",
            "valence: expected a mapping (key: value), found 'greedy'",
        ),
        ("method: best\nmembers: 3\n", "members: expected a mapping (key: value), found 3"),
        ("method: best\nmethod: mean\n", "key 'method' is given twice"),
        ("method: [best\n", "not YAML"),
        (
            "method: best\nmembers: {folds: al}\n",
            "bad.yaml:2: members.folds: unknown folds 'al'; did you mean 'all'? (known: all, official, ",
        ),
        (
            "method: top_k\nmembers: {folds: train_val_mix}\n",
            "bad.yaml:1: method: members trained on train_val_mix",
        ),
        (
            "method: mean\nmatch: true\nmembers: {folds: train_val_mix}\n",
            "bad.yaml:2: match: members trained on",
        ),
        ("method: mean\nprune: {top: 3}\nmembers: {folds: train_val_mix}\n", "so `prune` can't be"),
        (
            "method: mean\nsmooth: {seconds: [0, 1]}\nmembers: {folds: train_val_mix}\n",
            "give one window",
        ),
        (
            "method: auto\namong: [best, mean]\nmembers: {folds: train_val_mix}\n",
            "nothing can be chosen; allowed: mean",
        ),
        ("method: auto\namong: [best, over_folds]\n", "says its members' folds itself"),
        ("method: blend\n", "of: missing; expected a mapping"),
        (
            "method: blend\nof: {best: 1}\n",
            "of: expected a mapping of 2 or more, found {'best': 1}",
        ),
        (
            "method: blend\nof: {best: 0.5, mean: 0.6}\n",
            "bad.yaml:2: of: shares must sum to 1, but got 1.1",
        ),
        (
            "method: blend\nof: {best: 1.5, mean: -0.5}\n",
            "of.mean: expected a number above 0, found -0.5",
        ),
        (
            "method: blend\nof:\n  best: 0.5\n  men: 0.5\n",
            "bad.yaml:4: of.men: unknown recipe 'men'; did you mean 'mean'?",
        ),
        (
            "method: blend\nof: {best: 0.5, bad: 0.5}\n",
            "of.bad: recipe 'bad' is of method blend itself",
        ),
        (
            "method: blend\nof: {best: 0.5, mean: 0.5}\nmembers: {folds: all}\n",
            "bad.yaml:3: members: the parts of a blend say",
        ),
        ("method: best\nvalence: {method: blend}\n", "belongs at the top of a file"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_recipe(path)
    assert said in str(error.value) and str(path) in str(error.value)


def test_a_search_space_given_as_a_recipe_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("sampler: grid\nsettings: {features: all}\n")
    with pytest.raises(
        InputError, match=r"mine\.yaml: this is a search space .* expected a recipe"
    ):
        load_recipe(path)
