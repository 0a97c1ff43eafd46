"""A search's own Ray is nobody else's: `--address auto` must not take it for a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

OWNER = """
import ray
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import ray_running
with ray_running(Options(concurrent=1)):
    print("at", ray.get_runtime_context().gcs_address, flush=True)
    input()
"""

OTHER = """
from va_search.errors import InputError
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import ray_running
try:
    with ray_running(Options(address="auto")):
        print("taken for a cluster")
except InputError as error:
    print("refused:", error)
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_another_searchs_ray_is_refused() -> None:
    """Both run in processes of their own: Ray reads its token once in a process, and this one may
    have had another."""
    with tempfile.TemporaryDirectory(prefix="va") as folder:
        # Whoever uses clusters has one token for all; without, Ray makes one in the home folder for
        # each user.
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}
        env = os.environ | token | {"RAY_TMPDIR": folder}
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER], stdin=-1, stdout=-1, stderr=-3, text=True, env=env
        )
        try:
            assert owner.stdout is not None
            found = next(line.split()[1] for line in owner.stdout if line.startswith("at "))
            env["RAY_ADDRESS"] = found  # what auto would find, were it the only one here
            other = [sys.executable, "-c", OTHER]
            done = subprocess.run(
                other, stdout=-1, stderr=-2, text=True, env=env, timeout=120, check=False
            )
        finally:
            owner.communicate("\n", timeout=60)
    assert "refused: " in done.stdout, done.stdout
    assert "another search on this machine started for itself" in done.stdout
