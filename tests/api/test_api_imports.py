"""`import va_search` is light, and what it offers is complete."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import va_search

HEAVY = ("torch", "ray", "mlflow", "optuna", "numpy", "pandas", "pyarrow", "pydantic", "rich")


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after `code`."""
    program = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_va_search_loads_nothing_but_itself() -> None:
    program = (
        "import sys; known = set(sys.modules); import va_search; dir(va_search); "
        "print(*sorted(set(sys.modules) - known))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    added = {name.split(".")[0] for name in done.stdout.split()}
    assert "va_search" in added
    assert not added & set(HEAVY), added
    ours = [name for name in done.stdout.split() if name.startswith("va_search.")]
    assert ours == [], "no room of ours either"


def test_opening_a_home_loads_no_heavy_library() -> None:
    loaded = loaded_after("import va_search as va; va.open_home('nowhere')")
    assert not loaded & set(HEAVY), loaded & set(HEAVY)


def test_commands_load_no_heavy_library() -> None:
    loaded = loaded_after("import va_search.cli.main")
    assert not loaded & (set(HEAVY) - {"rich"}), loaded & set(HEAVY)


def test_dir_lists_the_api_and_every_name_is_there() -> None:
    names = dir(va_search)
    assert names == sorted(va_search.__all__)
    for name in names:
        assert getattr(va_search, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        va_search.serch  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(va_search.__file__).read_text(encoding="utf-8"))
    declared = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("va_search"):
            declared |= {alias.asname or alias.name for alias in node.names}
    assert declared == set(va_search.__all__) - {"__version__"}


def public_functions() -> list[tuple[str, object]]:
    """Every function and public method of the API, by its dotted name."""
    found: list[tuple[str, object]] = []
    for name in sorted(set(va_search.__all__) - {"__version__"}):
        value = getattr(va_search, name)
        found.append((name, value))
        if inspect.isclass(value) and value.__module__.startswith("va_search.api"):
            for member, method in vars(value).items():
                if not member.startswith("_") and (
                    inspect.isfunction(method) or isinstance(method, property)
                ):
                    found.append((f"{name}.{member}", method))
    return found


def test_every_name_has_a_docstring() -> None:
    for name, value in public_functions():
        text = inspect.getdoc(value) or ""
        assert len(text) > 20 and text[0].isupper(), f"{name}: {text!r}"
