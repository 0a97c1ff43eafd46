"""A store at a URL: brought once to a machine, whole, by one of several processes; a changed one
beside the old."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from s3_world import S3
from store_world import edit, edit_and_seal, unseal

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.storage.remote import Remote
from va_search.storage.stores import brought


def upload(folder: Path, url: str) -> Remote:
    remote = Remote(url)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in sorted(names, key=lambda name: name == "manifest.json"):
        remote.write(name, (folder / name).read_bytes())
    return remote


def test_a_store_at_a_url_is_the_same_store(url: str, tiny_store: Store) -> None:
    upload(tiny_store.path, url)
    found = Store.open(url)
    assert (found.url, found.place) == (url, url) and found.path != tiny_store.path
    assert found.recordings == tiny_store.recordings and found.hashes == tiny_store.hashes
    name = next(iter(tiny_store.feature_sets))
    assert np.array_equal(found.features(name), tiny_store.features(name))
    assert tiny_store.url is None and tiny_store.place == str(tiny_store.path.resolve())


def test_of_several_processes_one_brings_it(
    url: str, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(tiny_store.path, url)
    got: list[str] = []
    get = Remote.get

    def counted(self: Remote, name: str, *more: object) -> None:
        got.append(name)
        get(self, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Remote, "get", counted)
    with ThreadPoolExecutor(4) as threads:
        folders = set(threads.map(brought, [url] * 4))
    assert len(folders) == 1 and len(got) == len(set(got)) and got[-1] == "manifest.json"


def test_a_store_that_changed_is_brought_beside_the_old(
    url: str, tiny_store: Store, tmp_path: Path
) -> None:
    remote = upload(tiny_store.path, url)
    before = Store.open(url)
    changed = tmp_path / "changed"
    shutil.copytree(tiny_store.path, changed)
    edit_and_seal(changed, lambda document: document.update(name="another"))
    manifest = changed / "manifest.json"
    remote.write("manifest.json", manifest.read_bytes())
    after = Store.open(url)
    assert (before.name, after.name) == (tiny_store.name, "another") and before.path != after.path
    assert before.annotations.shape == after.annotations.shape


def test_a_broken_or_missing_store_is_refused(url: str, tiny_store: Store, s3: S3) -> None:
    with pytest.raises(InputError, match=r"not a store: no manifest\.json there"):
        Store.open(url)
    remote = upload(tiny_store.path, url)
    remote.write("frames.arrow", b"cut")
    remote.remove("recordings.arrow")
    with pytest.raises(InputError) as refused:
        Store.open(url)
    assert len(refused.value.problems) == 2
    assert f"{url}/frames.arrow: 3 bytes, expected" in str(refused.value)
    assert f"{url}/recordings.arrow: missing" in str(refused.value)


def test_a_killed_download_is_gone_on_with(
    url: str, tiny_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(tiny_store.path, url)
    get, left = Remote.get, [2]

    def killed(self: Remote, name: str, *more: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        get(self, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Remote, "get", killed)
    with pytest.raises(KeyboardInterrupt):
        Store.open(url)
    left[0] = 100
    assert Store.open(url).recordings == tiny_store.recordings


def test_a_manifest_that_names_files_elsewhere_is_refused(
    url: str, tiny_store: Store, tmp_path: Path
) -> None:
    remote = upload(tiny_store.path, url)
    manifest = json.loads((tiny_store.path / "manifest.json").read_text())
    manifest["bytes"]["../../outside.arrow"] = 3
    remote.write("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(InputError, match=r"'\.\./\.\./outside\.arrow'"):
        Store.open(url)


def test_a_store_that_comes_damaged_is_told_and_brought_again(
    url: str, tiny_store: Store, s3: S3
) -> None:
    remote = upload(tiny_store.path, url)
    content = (tiny_store.path / "frames.arrow").read_bytes()
    middle = len(content) // 2
    remote.write(
        "frames.arrow", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )
    with pytest.raises(InputError, match=f"{url}/frames.arrow: as it came here, changed since"):
        Store.open(url)
    remote.write("frames.arrow", content)
    opened = Store.open(url)
    assert np.array_equal(opened.times, tiny_store.times, equal_nan=True)
    copy = opened.path / "frames.arrow"
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"remove {opened.path}, and it is copied here again"):
        Store.open(url)


def test_an_edited_manifest_at_a_url_is_told(url: str, tiny_store: Store, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(tiny_store.path, tmp_path / "changed"))
    edit(changed, lambda document: document.update(name="another"))
    upload(changed, url)
    with pytest.raises(InputError, match=r"manifest\.json: changed since it was written"):
        Store.open(url)


def test_a_store_from_before_there_were_seals_is_sealed_where_it_came(
    url: str, tiny_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = Path(shutil.copytree(tiny_store.path, tmp_path / "older"))
    unseal(older)
    upload(older, url)
    for _ in range(2):
        assert Store.open(url).recordings == tiny_store.recordings
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "made before stores had seals; sealed as it is now"
    ]
