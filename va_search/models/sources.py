"""Source code of a user's own models: read, told apart by its content, and imported only if trusted.

    my_models.py:Conformer                 a class in a file, as a search space names it
    my_models.py:Conformer@3f29a0c41b7e    the class of exactly this source, as trials name it

Conventions: a source is a file and the local modules that it imports (modules that lie in its
folder or below), by path relative to that folder; files that the code opens when it runs are not
part of it. The 12 digits are of a hash over names and texts. Code is run only from sources that
were `trust`ed: those of files that the user named, and those that came with a home or bank where
the user said so. Each source is imported under a package name of its own, so that two versions of
a file can be used in one process and none hides another module."""

from __future__ import annotations

import ast
import builtins
import importlib
import linecache
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from va_search.errors import InputError
from va_search.files import digest, whole_file

PACKAGE = "va_search_own_"
REFERENCE = re.compile(r"(?P<file>[^/:@]+\.py):(?P<name>[A-Za-z_]\w*)@(?P<digest>[0-9a-f]{12})")
WRITTEN = re.compile(r"(?P<path>[^:@]+\.py):(?P<name>[A-Za-z_]\w*)(?:@(?P<digest>[0-9a-f]{12}))?")


@dataclass(frozen=True)
class ModelSource:
    """The texts of a file, `main`, and of the local modules that it imports."""

    main: str
    texts: Mapping[str, str]

    @property
    def digest(self) -> str:
        return digest({"main": self.main, "texts": dict(self.texts)})[:12]

    def reference(self, name: str) -> str:
        """The name of a class of this source in a trial's settings."""
        return f"{self.main}:{name}@{self.digest}"

    def document(self) -> dict[str, Any]:
        """The source as JSON."""
        return {"main": self.main, "texts": dict(self.texts)}


_trusted: dict[str, ModelSource] = {}
_trusts_all = [False]


def read_source(path: Path) -> ModelSource:
    """Read a file and the local modules that it imports; InputError when one can't be read."""
    folder = path.parent
    texts: dict[str, str] = {}
    waiting = [path.name]
    while waiting:
        name = waiting.pop()
        if name in texts:
            continue
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
            tree = ast.parse(texts[name])
        except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
            raise InputError(f"{folder / name}: can't be read as Python ({error})") from error
        waiting += _local_modules(tree, name, folder)
    return ModelSource(path.name, {name: texts[name] for name in sorted(texts)})


def _local_modules(tree: ast.AST, name: str, folder: Path) -> Iterator[str]:
    """Files below `folder` that the module `name` imports, packages' `__init__.py` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = Path(name).parts[:-1]
            within = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*within, *([node.module] if node.module else [])])
            # an imported name may be a module itself
            dotted = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
        else:
            continue
        # files of the module and of the packages around it, where they lie in the folder
        for module in dotted:
            parts = [part for part in module.split(".") if part]
            for depth in range(1, len(parts) + 1):
                path = Path(*parts[:depth])
                for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                    if (folder / candidate).is_file():
                        yield candidate.as_posix()


def trust(source: ModelSource) -> None:
    """Let this process run the source."""
    _trusted[source.digest] = source


def trust_everything() -> None:
    """Let this process run code that comes with homes and banks, as `--trust-code` says."""
    _trusts_all[0] = True


def bring(documents: list[dict[str, Any]]) -> None:
    """Take sources that came with a home or bank, which are trusted if `trust_everything` was
    called; otherwise they are left alone."""
    if _trusts_all[0]:
        for document in documents:
            trust(ModelSource(document["main"], document["texts"]))


def keep(document: Any, folder: Path) -> None:
    """Write the sources of all classes that a space's document names to `<folder>/<digest>/`, file
    by file."""
    for reference in references(document):
        source = trusted(reference)
        if source is None:
            continue
        for name, text in source.texts.items():
            path = folder / source.digest / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as beside:
                beside.write_text(text, encoding="utf-8")


def bring_kept(document: Any, folder: Path) -> None:
    """Take the sources that `keep` wrote for a document, as `bring` does. One that was changed or
    damaged since has another digest, and so is not found by any trial."""
    for reference in references(document):
        main, _, digits = reference.partition("@")
        root = folder / digits
        texts: dict[str, str] = {}
        for file in sorted(root.rglob("*.py")):
            texts[file.relative_to(root).as_posix()] = file.read_text(encoding="utf-8")
        bring([ModelSource(main.partition(":")[0], texts).document()])


def references(document: Any) -> Iterator[str]:
    """Every `file.py:Class@source` in a document."""
    if isinstance(document, str) and REFERENCE.fullmatch(document):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def trusted(reference: str) -> ModelSource | None:
    """The source of `my_models.py:Conformer@…`, if this process may run it."""
    match = REFERENCE.fullmatch(reference)
    return None if match is None else _trusted.get(match["digest"])


def title(reference: str) -> str:
    """The name of a class of a user's own in reports: `Conformer (my_models.py)`."""
    match = REFERENCE.fullmatch(reference)
    return reference if match is None else f"{match['name']} ({match['file']})"


def load(reference: str) -> Any:
    """Import the class that `my_models.py:Conformer@…` names; InputError when it is not trusted,
    fails to import, or has no such class."""
    match = REFERENCE.fullmatch(reference)
    assert match is not None, reference
    written = f"{match['file']}:{match['name']}"
    source = _trusted.get(match["digest"])
    if source is None:
        raise InputError(
            f"{written} is code that comes with the trial (source {match['digest']}), and code of "
            "others can do anything on this machine: it is run only with --trust-code "
            "(trust_code=True in Python), or where the very file is named in a search space of yours"
        )
    # a package name of its own for each source: two versions can be imported side by side
    module = f"{PACKAGE}{source.digest}.{Path(source.main).stem}"
    try:
        value = getattr(importlib.import_module(module), match["name"], None)
    except Exception as error:  # whatever a user's file raises
        kind = type(error).__name__
        raise InputError(f"{written}: the file fails to import: {kind}: {error}") from error
    if not isinstance(value, type):
        raise InputError(f"{written}: the file has no class {match['name']!r}")
    return value


class _OwnModules(MetaPathFinder, Loader):
    """Finds modules of trusted sources as `va_search_own_<digest>.<module>`."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Python: the module's place, None for those of others."""
        if not fullname.startswith(PACKAGE):
            return None
        file, is_package = self._file(fullname)
        if file is None and not is_package:
            return None
        return ModuleSpec(fullname, self, origin=file, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Python: run the module."""
        file, _ = self._file(module.__name__)
        if file is None:
            return  # the folder itself, or a package without code
        source = self._source(module.__name__)
        text = source.texts[file]
        shown = f"{file} (source {source.digest})"
        linecache.cache[shown] = (len(text), None, text.splitlines(True), shown)
        # `import blocks` beside the file means the source's own blocks.py, whenever it is run
        importing = {**vars(builtins), "__import__": partial(_import, source)}
        module.__dict__["__builtins__"] = importing
        exec(compile(text, shown, "exec"), module.__dict__)  # noqa: S102 (trusted by the user)

    def _source(self, fullname: str) -> ModelSource:
        return _trusted[fullname.partition(".")[0].removeprefix(PACKAGE)]

    def _file(self, fullname: str) -> tuple[str | None, bool]:
        """The source's file of a module (None: there is no code), and True for packages."""
        parts = fullname.split(".")[1:]
        texts = self._source(fullname).texts
        path = "/".join(parts)
        if not parts:
            return None, True
        if f"{path}.py" in texts:
            return f"{path}.py", False
        if f"{path}/__init__.py" in texts:
            return f"{path}/__init__.py", True
        return None, any(name.startswith(f"{path}/") for name in texts)


def _import(  # noqa: PLR0917 (Python's own signature)
    source: ModelSource,
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: tuple[str, ...] = (),
    level: int = 0,
) -> Any:
    """Import as Python does, local modules from the source."""
    # modules of the source hide installed ones of their name, as beside a script
    top = name.partition(".")[0]
    is_local = any(file == f"{top}.py" or file.startswith(f"{top}/") for file in source.texts)
    if level or not is_local:
        return builtins.__import__(name, globals, locals, fromlist, level)
    package = f"{PACKAGE}{source.digest}"
    if fromlist:
        return builtins.__import__(f"{package}.{name}", globals, locals, fromlist)
    importlib.import_module(f"{package}.{name}")
    return sys.modules[f"{package}.{top}"]


sys.meta_path.append(_OwnModules())
