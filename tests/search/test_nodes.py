"""How a node that must not train is told, without Ray."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from store_world import edit, unseal

from va_search import __version__
from va_search.data.store import Store
from va_search.home import Home
from va_search.search.ray_backend.actor import problems_of
from va_search.search.ray_backend.nodes import Expected, expected, problems_here
from va_search.search.task import Task


def test_an_unfit_node_whose_name_has_no_address_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(name: str) -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "gethostname", lambda: "worker-7")
    monkeypatch.setattr(socket, "gethostbyname", nowhere)
    place = str(tmp_path / "home")
    wanted = Expected(__version__, "3.11.0", home=place, token="t", store=place, manifest="")
    task = Task("t", {}, "s", place, place, "store", "", expected=wanted)
    said = problems_of(task)
    assert (
        said is not None
        and said.startswith("node worker-7 ")
        and f"does not see the home {place}" in said
    )
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.0.0.7")
    said = problems_of(task)
    assert said is not None and said.startswith("node 10.0.0.7 (worker-7) ")


def test_a_nodes_copy_of_a_store_may_have_no_seal_yet(tmp_path: Path, tiny_store: Store) -> None:
    """The store is sealed where it is opened first; the copies on other nodes are from before."""
    copy = Path(shutil.copytree(tiny_store.path, tmp_path / "copy"))
    unseal(copy)
    home = Home(tmp_path / "home")
    home.root.mkdir()
    with expected(home, tiny_store) as wanted:
        elsewhere = replace(wanted, store=str(copy))
        assert problems_here(elsewhere) == []
        edit(copy, lambda document: document.update(name="another"))
        (problem,) = problems_here(elsewhere)
        assert problem.startswith(f"has another store at {copy}")
