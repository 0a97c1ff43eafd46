"""YAML that people write: what YAML 1.1 takes for something else is reported with its line, in
every kind of file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.cluster.check import check_cluster
from va_search.data.dataset import read_dataset
from va_search.data.store import Store
from va_search.document import StrictModel, read_document, read_yaml
from va_search.document.words import number_hint
from va_search.ensemble.recipe import load_recipe
from va_search.errors import InputError
from va_search.extract.recipe import load_recipe as load_feature_recipe
from va_search.search.space import load_space


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "taken", "instead"),
    [
        ("1:30", "90", "1.5"),
        ("24:00:00", "86400", "24"),
        ("1:30.5", "90.5", "1.50833"),
        ("010", "8", "10"),
        ("-010", "-8", "-10"),
        ("0x1F", "31", "31"),
        ("0b11", "3", "3"),
        ("1_000", "1000", "1000"),
        ("1_000.5", "1000.5", "1000.5"),
        ("on", "true", "true"),
        ("Off", "false", "false"),
        ("yes", "true", "true"),
        ("NO", "false", "false"),
        ("2026-01-01", "a date", '"2026-01-01"'),
        ("2026-13-45", "a date", '"2026-13-45"'),
        ("2026-01-01 10:00:00", "a date", '"2026-01-01 10:00:00"'),
        ("!!int '010'", "8", "10"),
    ],
)
def test_a_trap_says_what_was_written_what_it_becomes_and_what_to_write(
    tmp_path: Path, written: str, taken: str, instead: str
) -> None:
    [problem] = problems(tmp_path / "a.yaml", f"first: 1\nhere: [2, {written}]\n")
    value = written.removeprefix("!!int ").strip("'")
    assert problem.startswith(f"2: YAML reads {value} as {taken}")
    assert f"write {instead}" in problem
    assert f'"{value}" for a text' in problem or instead.startswith('"')


@pytest.mark.parametrize(
    "text", ["on: 1", "010: 1", "{no: 1}", "2026-01-01: 1", "~: 1", "null: 1", "1:30: 1"]
)
def test_a_key_is_a_trap_as_well(tmp_path: Path, text: str) -> None:
    [problem] = problems(tmp_path / "a.yaml", text)
    assert problem.startswith("1: YAML reads")


@pytest.mark.parametrize(
    "text",
    [
        "a: true\nb: False\nc: null\nd: ~\ne:\nf: 10\ng: -0.5\nh: 1.0e-5\ni: .5\nj: 5.\nk: +3\nl: 0\nm: .inf",
        "a: '010'\nb: \"on\"\nc: '1:30'\nd: \"2026-01-01\"\ne: !!str 010\nf: 0o10\ng: 08\nh: y\ni: N\nj: v1\nk: 1e-5",
        "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\ne: [*x, *x]",
        "a: |\n  on\n  010\nb: >-\n  1:30",
    ],
)
def test_what_means_what_it_says_is_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml")[0] == yaml.safe_load(text)


MEANT = st.one_of(
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(
        [
            "010",
            "1:30",
            "on",
            "no",
            "y",
            "2026-01-01",
            "1e5",
            "~",
            "0x1",
            "1_0",
            "=",
            "<<",
            "24:00:00",
        ]
    ),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(document=st.dictionaries(st.text(max_size=6), st.lists(MEANT, max_size=4), max_size=4))
def test_what_a_yaml_writer_wrote_is_read_back_without_a_complaint(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("y") / "a.yaml"
    path.write_bytes(yaml.safe_dump(document, allow_unicode=False).encode())
    assert read_yaml(path)[0] == document


def slow_reference(text: str) -> bool:
    """Whether YAML 1.1 takes a plain word for something else than a person: true, false, null, 12
    and 1.5 apart."""
    value = yaml.safe_load(f"[{text}]")[0]
    if isinstance(value, bool):
        return text.lower() not in ("true", "false")
    if isinstance(value, int | float):
        if "_" in text or ":" in text:
            return True
        digits = text.lstrip("+-")
        return len(digits) > 1 and digits[0] == "0" and "." not in digits
    return not isinstance(value, str) and value is not None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    text=st.one_of(
        st.from_regex(r"[-+]?[0-9]{1,3}(:[0-9]{1,2}){0,3}(\.[0-9]{0,2})?", fullmatch=True),
        st.from_regex(r"[-+]?0?[0-9_xb]{1,5}", fullmatch=True),
        st.from_regex(r"[0-9]{4}-[01][0-9]-[0-2][1-9]", fullmatch=True),
        st.sampled_from([form(word) for word in ("on", "off", "yes", "no", "y", "n", "true", "false", "null")
                         for form in (str.lower, str.upper, str.title)]),
    )
)  # fmt: skip
def test_random_words_are_reported_exactly_where_yaml_takes_them_for_something_else(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        trap = slow_reference(text)
    except ValueError:  # a date that no calendar has
        trap = True
    except yaml.YAMLError:
        return
    path = tmp_path_factory.mktemp("y") / "a.yaml"
    path.write_text(f"a:\n  b: {text}\n")
    if trap:
        with pytest.raises(InputError, match=rf"a.yaml:2: .*{text.replace('+', '.')}"):
            read_yaml(path)
    else:
        assert read_yaml(path)[0] == {"a": {"b": yaml.safe_load(text)}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [*a]", "contains itself"),
        ("[" * 3000, "nested too deeply"),
        ("a: " + ":".join(["1"] * 100_000), "a number or date of 199,999 letters"),
        ("a: 2020-01-01 00:00:00." + "1" * 100_000, "a number or date of 100,020 letters"),
        ("#" * (1 << 22), "more than 2 MiB"),
        ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
        ("a: \x00", "'\\x00'"),
        ("a:\n\tb: 1", "write spaces"),
        ("? [a]\n: 1", "a key must be a name, found a list"),
        ("a: !!python/name:os.system ''", "tag !!python/name:os.system"),
        ("a: !mine 3", "tag !mine"),
        ("a: !!binary aGVsbG8=", "tag !!binary"),
        ("a: " + "9" * 5000, "can't be read"),
        ("a: 1\n---\nb: 2", "another document"),
        ("a: {<<: 3}", "takes a mapping"),
        ("x: &x {k: 1}\ny: &y {k: 2}\nz: {<<: [*x, *y]}", "brings key 'k' twice"),
        ("z0: &z0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
         + "\n".join(f"z{n}: &z{n} [{', '.join([f'*z{n - 1}'] * 10)}]" for n in range(1, 10)), "stand for more than"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_at_once(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in problem for problem in problems(tmp_path / "a.yaml", text))


class Wanted(StrictModel):
    b: int


def test_traps_are_reported_along_with_what_the_reader_finds(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb: on\n")
    with pytest.raises(InputError) as caught:
        read_document(path, Wanted, "a test")
    assert caught.value.problems == [
        f"{path}:1: a: unknown key 'a' (known: b)",
        f'{path}:2: YAML reads on as true; write true, or "on" for a text',
        f"{path}:2: b: expected a whole number, found true",
    ]
    path.write_text("b: 010\n")
    with pytest.raises(InputError, match="YAML reads 010 as 8"):
        read_document(path, Wanted, "a test")
    path.write_text("b: 8\n")
    assert read_document(path, Wanted, "a test") == Wanted(b=8)


@dataclass(frozen=True)
class Kind:
    """A kind of file: a document whose last line holds a number, and what is expected there."""

    text: str
    key: str
    parent: str
    expected: str
    bound: str
    required: str
    mapping: str
    opens: str


KINDS = {
    "search space": Kind(
        "sampler: random\nsettings: {features: all}\nbudget: {trials: 8}\nearly_stopping: {}\nsampler_seed: 25",
        "sampler_seed", "", "a whole number", "of 0 or more", "sampler: random", "budget: {trials: 8}",
        "a search space",
    ),
    "ensemble recipe": Kind(
        "method: nnls\nprune: {top: 3}\nstrength: 25", "strength", "", "a number", "of 0 or more", "method: nnls",
        "prune: {top: 3}", "an ensemble recipe",
    ),
    "feature recipe": Kind(
        "feature_sets:\n- name: voice\n  extractor: egemaps\n  settings: {}\n  delay: 25",
        "delay", "feature_sets[0].", "a number", "of -60 or more", "name: voice", "settings: {}", "a feature recipe",
    ),
    "data set": Kind(
        "name: mine\nlabel_range: [-1, 1]\nfeatures: {face: {modality: visual, columns: [au]}}\nframes_per_second: 25",
        "frames_per_second", "", "a number or null", "above 0", "name: mine",
        "features: {face: {modality: visual, columns: [au]}}", "a description of a data set",
    ),
    "cluster file": Kind(
        "cluster_name: mine\nprovider: {type: aws}\nupscaling_speed: 25",
        "upscaling_speed", "", "a number", "of 0 or more", "cluster_name: mine", "provider: {type: aws}",
        "a cluster file",
    ),
}  # fmt: skip


@pytest.fixture
def problems_of(tmp_path: Path, tiny_store: Store) -> Callable[[str, str], list[str]]:
    """Problems of a document read as a kind of file, without the file's path."""

    def read(kind: str, text: str) -> list[str]:
        path = tmp_path / "a.yaml"
        path.write_text(text)
        if kind == "feature recipe":
            pytest.importorskip("opensmile", reason="needs va-search[extract]")
        try:
            if kind == "cluster file":
                findings = check_cluster(path).findings
                return [f"{finding.line}: {finding.text}" for finding in findings]
            readers: dict[str, Callable[[Path], object]] = {
                "search space": lambda path: load_space(path, tiny_store),
                "ensemble recipe": load_recipe,
                "feature recipe": load_feature_recipe,
                "data set": read_dataset,
            }
            readers[kind](path)
        except InputError as error:
            return [problem.removeprefix(f"{path}:") for problem in error.problems]
        return []

    return read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("many", "{place}: expected {expected}, found 'many'"),
        ("[1]", "{place}: expected {expected}, found [1]"),
        ("true", "{place}: expected {expected}, found true"),
        ("1e-5", "{place}: expected {expected}, found '1e-5' (without a point YAML takes it for a text; write 1.0e-05)"),
        ("-100", "{place}: expected a number {bound}, found -100"),
        ("010", 'YAML reads 010 as 8 (base 8); write 10, 8, or "010" for a text'),
        ("1:30", 'YAML reads 1:30 as 90 (base 60); write 1.5, 90, or "1:30" for a text'),
        ("no", 'YAML reads no as false; write false, or "no" for a text'),
    ],
)  # fmt: skip
def test_a_wrong_number_has_one_sentence_in_every_kind_of_file(
    problems_of: Callable[[str, str], list[str]], kind: str, value: str, sentence: str
) -> None:
    facts = KINDS[kind]
    line = facts.text.count("\n") + 1
    expected = sentence.format(
        place=facts.parent + facts.key, expected=facts.expected, bound=facts.bound
    )
    assert problems_of(kind, facts.text) == [] or kind == "cluster file"
    text = facts.text.replace(": 25", f": {value}")
    assert f"{line}: {expected}" in problems_of(kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_other_slips_have_one_sentence_in_every_kind_of_file(
    problems_of: Callable[[str, str], list[str]], kind: str
) -> None:
    facts = KINDS[kind]
    last = facts.text.count("\n") + 1
    key, parent, indent = facts.key, facts.parent, "  " * bool(facts.parent)

    unknown = problems_of(kind, facts.text.replace(f"{key}:", f"{key}z:"))
    sentence = f"{last}: {parent}{key}z: unknown key '{key}z'; did you mean '{key}'? (known: "
    assert any(problem.startswith(sentence) for problem in unknown)

    twice = problems_of(kind, f"{facts.text}\n{indent}{key}: 3")
    assert twice == [f"{last + 1}: key {key!r} is given twice; keep one"]

    required = facts.required.partition(":")[0]
    without = facts.text.replace(f"{facts.required}\n", "").replace("-   ", "- ")
    sentence = f"{2 if parent else 1}: {parent}{required}: missing; expected "
    assert any(problem.startswith(sentence) for problem in problems_of(kind, without))

    mapping = facts.mapping.partition(":")[0]
    line = facts.text.splitlines().index(f"{indent}{facts.mapping}") + 1
    sentence = f"{line}: {parent}{mapping}: expected a mapping (key: value), found 3"
    assert sentence in problems_of(kind, facts.text.replace(facts.mapping, f"{mapping}: 3"))

    sentence = f"1: expected {facts.opens}, a mapping (key: value); found ['a']"
    assert problems_of(kind, "- a") == [sentence]


@pytest.mark.parametrize("kind", KINDS)
def test_all_slips_of_a_file_are_told_at_once(
    problems_of: Callable[[str, str], list[str]], kind: str
) -> None:
    text = KINDS[kind].text.replace(": 25", ": many") + "\nbananas: on\n"
    told = "\n".join(problems_of(kind, text))
    assert "found 'many'" in told
    assert "unknown key 'bananas'" in told
    assert "YAML reads on as true" in told


def test_a_number_that_yaml_takes_for_a_text_comes_with_what_to_write() -> None:
    assert number_hint("1e-5") == " (without a point YAML takes it for a text; write 1.0e-05)"
    for text in ("1e-5", "3e5", "25e-7", "1E22", "2.5e3"):
        advised = number_hint(text).rpartition("write ")[2].rstrip(")")
        assert yaml.safe_load(advised) == float(text)
    assert number_hint("fast") == number_hint(3) == number_hint("1e999") == ""
