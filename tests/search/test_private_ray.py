"""A search's own Ray is nobody else's: `--address auto` must not take it for a cluster."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from va_search.errors import InputError
from va_search.search.machine import Options, ray_running

OWNER = """
import ray
from va_search.search.machine import Options, ray_running
with ray_running(Options(concurrent=1)):
    print("at", ray.get_runtime_context().gcs_address, flush=True)
    input()
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_another_searchs_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="va") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "1" * 64)  # whoever uses clusters has one for all; else Ray makes its own
        owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=-1, stdout=-1, stderr=-3, text=True)
        try:
            assert owner.stdout is not None
            found = next(line.split()[1] for line in owner.stdout if line.startswith("at "))
            monkeypatch.setenv("RAY_ADDRESS", found)  # what auto would find, were it the only one here
            with pytest.raises(InputError, match="another search on this machine started for itself"):
                with ray_running(Options(address="auto")):
                    pass
        finally:
            owner.communicate("\n", timeout=60)
