"""The part of the build that pyproject.toml cannot say: three folders of the repository travel in
the wheel.

search_spaces/, ensembles/ and feature_recipes/ stand at the top of the repository, where people
look for them. In a wheel they lie in va_search/shipped/, where `va_search.files.shipped` finds
them. An editable install needs no copy: the same function finds the repository's own folders.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("search_spaces", "ensembles", "feature_recipes")


class BuildWithShippedFolders(build_py):
    """The usual build, and the YAML files of `FOLDERS` beside the package's modules."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._shipped().items():
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))

    def _shipped(self) -> dict[Path, Path]:
        """Path in the repository -> path in the build."""
        to = Path(self.build_lib) / "va_search" / "shipped"
        sources = [path for folder in FOLDERS for path in sorted(Path(folder).rglob("*.yaml"))]
        return {source: to / source for source in sources}


setup(cmdclass={"build_py": BuildWithShippedFolders})
