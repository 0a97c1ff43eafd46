"""A home at a URL from Python: its files are brought and put, once for nested calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from ensemble_world import make_world

import va_search as va
from va_search.storage.homes import RemoteHome


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> va.OpenHome:
    """A home at a file:// URL with six trials in it, of which this machine has no copy yet."""
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    world = make_world(tmp_path)
    return va.open_home(f"file://{world.home.root}")


def test_an_ensemble_is_built_from_what_is_brought_and_put_there(
    home: va.OpenHome, tmp_path: Path
) -> None:
    assert home.studies == ["first"]
    study = home.study("first")
    assert len(study.trials()) == 6 and len(study.predictions("a0")) == 396
    ensemble = va.build_ensemble(
        study, name="e", recipe="mean", tracking=False, note=lambda text: None
    )
    assert ensemble.home is home
    assert (tmp_path / "home" / "ensembles" / "e.json").is_file(), "put to the URL"
    assert va.open_home(home.files.url).ensembles == ["e"]


def test_nested_contexts_bring_and_put_once(
    home: va.OpenHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = []
    monkeypatch.setattr(
        RemoteHome, "merge", lambda self, need, studies=None: merged.append(need.name)
    )
    with home.using("predictions", writes=True):
        with home.using("records"), home.using("predictions", studies=["first"], writes=True):
            pass
        with home.using("weights"):
            pass
        assert merged == ["PREDICTIONS", "WEIGHTS"]
    assert merged == ["PREDICTIONS", "WEIGHTS", "PREDICTIONS"]


def test_what_fails_puts_nothing(home: va.OpenHome, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = []
    monkeypatch.setattr(
        RemoteHome, "merge", lambda self, need, studies=None: merged.append(need.name)
    )
    with pytest.raises(ZeroDivisionError), home.using(writes=True):
        raise ZeroDivisionError
    assert merged == ["RECORDS"]
    with home.using():
        pass
    assert merged == ["RECORDS", "RECORDS"], "nothing is remembered of it"
