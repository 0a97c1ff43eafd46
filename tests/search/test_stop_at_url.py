"""A stop that is asked for while a search brings its home from a URL; no Ray is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_world import wait_for

from va_search.data.store import Store
from va_search.errors import Interrupted
from va_search.home import Home
from va_search.search import run
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.storage.homes import RemoteHome, home_at
from va_search.storage.lease import ask_elsewhere
from va_search.storage.remote import Remote

SPACE = """sampler: grid
settings:
  features: [face]
  encoder: gru
  learning_rate: {choice: [0.1, 0.2]}
"""


def here(home: Home) -> bool:
    return Study(home, "s").ask_to_stop()


def at_the_url(home: Home) -> bool:
    """As from another machine; heard with the next beat, while still being brought."""
    asked = ask_elsewhere(home, "s")
    wait_for(lambda: Study(home, "s").stop_asked, 30)
    return asked


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ask", [here, at_the_url])
def test_it_is_honoured(
    tmp_path: Path, tiny_store: Store, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Home], bool]
) -> None:
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    home, file = home_at(f"file://{tmp_path}/far"), tmp_path / "space.yaml"
    file.write_text(SPACE)
    space = load_space(file, tiny_store)
    study = Study(home, "s")
    study.folder.mkdir(parents=True)
    (study.folder / "stop").write_text("{}")  # of an earlier search, which no longer heard it
    merge = RemoteHome.merge

    def stopped(self: RemoteHome, *given: Any, **named: Any) -> None:
        assert not study.stop_asked and ask(home)
        merge(self, *given, **named)

    def start(*_: Any) -> None:
        raise AssertionError("a search that was stopped started Ray")

    monkeypatch.setattr(RemoteHome, "merge", stopped)
    monkeypatch.setattr("va_search.search.loop.ray_running", start)
    with pytest.raises(Interrupted, match="stopped by `va-search stop s`: 0 trials are complete"):
        run.run_search(
            home, space, tiny_store, run.Request("s"), run.Callbacks(lambda progress: None)
        )
    assert not study.stop_asked and Remote(str(home.url)).find("studies/s/stop") is None
