"""What lies where an expected file is not: the same name with another ending, or a name that is
nearly the same.

Conventions: nothing found is read for its data; of archives only the list of their arrays is.
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from va_search.errors import nearest_name

MOST_FILES = 20_000
"""Of a folder with more files, only the expected name with other endings is looked for."""
MOST_NAMES = 200
"""So many names are compared with all files for the nearest one; a message shows fewer, and each
takes milliseconds."""

CONVERSIONS = {
    ".npz": "np.save('{stem}.npy', np.load('{name}')['{array}'])",
    ".h5": "np.save('{stem}.npy', h5py.File('{name}')['NAME'][:]), where h5py.File('{name}').visit(print) lists names",
    ".mat": "np.save('{stem}.npy', scipy.io.loadmat('{name}')['NAME'])",
    ".pkl": "np.save('{stem}.npy', np.asarray(pandas.read_pickle('{name}'))), only if you trust who made it",
    ".npy": "pandas.DataFrame(np.load('{name}'), columns=['valence', 'arousal']).to_csv('{stem}.csv', index=False), "
    "if these are its columns",
    ".parquet": "pandas.read_parquet('{name}').to_csv('{stem}.csv', index=False)",
    ".gz": "gunzip -k {name}",
    ".xlsx": "pandas.read_excel('{name}').to_csv('{stem}.csv', index=False)",
    ".tsv": "pandas.read_csv('{name}', sep='\\t').to_csv('{stem}.csv', index=False)",
    ".txt": "pandas.read_csv('{name}').to_csv('{stem}.csv', index=False), if it is comma-separated with a header",
    ".pt": "np.save('{stem}.npy', torch.load('{name}', weights_only=True).numpy())",
    ".feather": "pandas.read_feather('{name}').to_csv('{stem}.csv', index=False)",
}
"""One or two lines of Python, or a command, for each ending that `instead_of` may find."""
SAME_FORMAT = {
    ".hdf5": ".h5",
    ".hdf": ".h5",
    ".pickle": ".pkl",
    ".p": ".pkl",
    ".pth": ".pt",
    ".xls": ".xlsx",
}


class Nearby:
    """The files of one folder, asked for what is there in place of expected ones."""

    def __init__(self, folder: Path, allowed: Sequence[str], taken: Iterable[str] = ()) -> None:
        """`taken` are the stems that are expected anyway: no file of theirs is meant to be
        another's."""
        self.folder = folder
        self.allowed = tuple(allowed)
        self.taken = set(taken)
        self.names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        self._converted: dict[str, str] = {}
        self._compared = 0

    def instead_of(self, expected: Iterable[str]) -> str:
        """Words such as "; v1.npz is there, allowed is .csv", or "" where nothing like the names is
        there."""
        # The very name with another ending is meant for sure; an alike one may be.
        for stem in expected:
            same = [name for name in self._by_stem.get(stem, []) if not self._is_allowed(name)]
            if same:
                self._note_conversion(same[0], stem)
                verb = "is" if len(same) == 1 else "are"
                return f"; {', '.join(same[:3])} {verb} there, allowed: {', '.join(self.allowed)}"
        for stem in expected:
            like = self._like(stem)
            if like is not None:
                if not self._is_allowed(like):
                    self._note_conversion(like, self._stem(like))
                return f"; {like} is there: is it meant? Names must be the same"
        return ""

    def in_other_formats(self, stem: str) -> list[str]:
        """Files of this name in a format of data that is not one of the allowed."""
        formats = (*CONVERSIONS, *SAME_FORMAT)
        names = [name for name in self._by_stem.get(stem, []) if name.lower().endswith(formats)]
        return [name for name in names if not self._is_allowed(name)]

    def strangers(self) -> list[str]:
        """Files in an allowed format that nobody expects."""
        return [
            name
            for name in self.names
            if self._is_allowed(name) and self._stem(name) not in self.taken
        ]

    def conversions(self) -> dict[str, str]:
        """Advice for each kind of file that was found in place of another, by its ending."""
        return self._converted

    def inside(self) -> str:
        """The first names in the folder, for a message."""
        names = ", ".join(self.names[:5]) or "nothing"
        if len(self.names) > 5:
            names += f" and {len(self.names) - 5} more"
        return names

    def _is_allowed(self, name: str) -> bool:
        return name.endswith(self.allowed)

    def _stem(self, name: str) -> str:
        """The name without its ending, both endings of a compressed file."""
        stem, dot, ending = name.rpartition(".")
        if not dot:
            return name
        if ending.lower() in ("gz", "bz2", "xz", "zip") and "." in stem:
            return stem.rpartition(".")[0]
        return stem

    def _like(self, stem: str) -> str | None:
        """The one name that is the same but for case, zeros and signs; else the nearest."""
        if len(self.names) > MOST_FILES:
            return None
        # Two names that are the same but for zeros or case: which is meant is not known.
        same = self._by_plain.get(plain(stem), [])
        if same:
            return self._by_stem[same[0]][0] if len(same) == 1 else None
        # Comparing is slow: a message with hundreds of hints helps nobody.
        self._compared += 1
        if self._compared > MOST_NAMES:
            return None
        near = nearest_name(stem, self._free, alike=0.8)
        return None if near is None else self._by_stem[near][0]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """The files of each name without ending."""
        names: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            names[self._stem(name)].append(name)
        return dict(names)

    @cached_property
    def _free(self) -> list[str]:
        """The names without ending that are not expected anyway."""
        return [stem for stem in self._by_stem if stem not in self.taken]

    @cached_property
    def _by_plain(self) -> dict[str, list[str]]:
        """The names in `_free` that are the same but for case, zeros and signs."""
        names: dict[str, list[str]] = defaultdict(list)
        for stem in self._free:
            names[plain(stem)].append(stem)
        return dict(names)

    def _note_conversion(self, name: str, stem: str) -> None:
        """Keep one example of how to bring files like this one into an allowed format."""
        suffix = "." + name.rpartition(".")[2].lower()
        kind = SAME_FORMAT.get(suffix, suffix)
        if suffix in self.allowed:  # only its ending is written otherwise
            self._converted.setdefault(suffix, f"to rename such a file: mv {name} {stem}{suffix}")
            return
        if kind not in CONVERSIONS or kind in self._converted:
            return
        arrays = self._arrays(name) if kind == ".npz" else []
        array, choice = "NAME", ""
        if len(arrays) == 1:
            array = arrays[0]
        elif arrays:
            choice = f", NAME one of {', '.join(arrays[:5])}"
        command = CONVERSIONS[kind].format(name=name, stem=stem, array=array)
        self._converted[kind] = (
            f"to convert a file such as {self.folder / name} (in its folder): {command}{choice}"
        )

    def _arrays(self, name: str) -> list[str]:
        """Names of the arrays in an .npz file; none where it can't be read."""
        try:
            with zipfile.ZipFile(self.folder / name) as archive:
                return [entry.removesuffix(".npy") for entry in archive.namelist()]
        except (OSError, zipfile.BadZipFile):
            return []


def plain(name: str) -> str:
    """A name without case, signs and leading zeros of its numbers: what is equal in it was probably
    meant to be."""
    words = re.findall(r"\d+|[^\W\d_]+", name.casefold())
    return ".".join(word.lstrip("0") or "0" if word.isdecimal() else word for word in words)
