"""Recipes: the shipped ones load, a wrong one says everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from va_search.ensemble.recipe import METHODS, Greedy, TopK, load_recipe, read_recipe
from va_search.errors import InputError

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "ensembles").glob("*.yaml"))


def test_a_recipe_is_shipped_for_every_method() -> None:
    assert {"best", "greedy", "mean", "top_k"} <= {path.stem for path in SHIPPED}
    assert {load_recipe(path).methods["valence"].method for path in SHIPPED} == set(METHODS)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_say_what_they_do(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.read_text().startswith("# ") and recipe.name == path.stem


def test_a_bare_name_is_looked_up_in_ensembles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ensembles").mkdir()
    (tmp_path / "ensembles" / "mine.yaml").write_text("method: mean\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("mine").methods["arousal"].method == "mean"
    with pytest.raises(InputError, match=r"unknown recipe 'mein'.*known: mine"):
        load_recipe("mein")
    with pytest.raises(InputError, match=r"elsewhere/mine\.yaml: no such recipe file"):
        load_recipe("elsewhere/mine.yaml")


def test_a_dimension_may_differ() -> None:
    document = {"method": "greedy", "steps": 9, "valence": {"steps": 3}, "arousal": {"method": "top_k", "k": 2}}
    recipe = read_recipe("r", document)
    assert recipe.methods == {"valence": Greedy(steps=3), "arousal": TopK(k=2)}
    assert recipe.members.outside


def test_every_problem_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "method: greedy\nstep: 5\nstart: zero\nmembers: {outsid: yes}\n"
        "valence:\n  method: bst\narousal:\n  k: 0\n  method: top_k\n"
    )
    with pytest.raises(InputError) as error:
        load_recipe(path)
    found = sorted(error.value.problems)
    assert [problem.split(":")[1] for problem in found] == ["2", "3", "4", "6", "8"]
    assert "'step'; did you mean 'steps'?" in found[0]
    assert "valid integer, but got 'zero'" in found[1]
    assert "did you mean 'outside'?" in found[2]
    assert "unknown method 'bst'; did you mean 'best'?" in found[3]
    assert "greater than or equal to 1, but got 0" in found[4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected keys such as"),
        ("- greedy\n", "expected keys such as"),
        ("steps: 3\n", "`method` is missing; allowed: best, top_k, mean, greedy"),
        ("method: best\nk: 3\n", "unknown key of method best 'k'"),
        ("method: [best]\n", "unknown method"),
        ("method: best\nvalence: greedy\n", "expected settings such as"),
        ("method: best\nmembers: 3\n", "valid dictionary"),
        ("method: best\nmethod: mean\n", "stands twice"),
        ("method: [best\n", "not YAML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_recipe(path)
    assert said in str(error.value) and str(path) in str(error.value)
