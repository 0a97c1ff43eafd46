"""One filled world for all tests of this room, read only; and its report."""

from __future__ import annotations

import pytest
from report_world import World, fill, make_world, write_submissions

from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.report.pages import StudyReport
from va_search.report.write import assemble

STUDIES = ["main", "ablation", "folds", "mix"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = fill(make_world(tmp_path_factory.mktemp("report")))
    write_submissions(made, "main", labelled=True)
    # the damaged record of study main would stop an ensemble; the report goes on
    build(made.home, ["ablation", "folds"], load_recipe("greedy"), "best", made.store)
    return made


@pytest.fixture(scope="session")
def whole(world: World) -> StudyReport:
    return assemble(world.home, STUDIES, command="va-search report <b>")
