"""A search's own Ray where the machine's network is none, cut off, or goes away; in network
namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ray_world import command, write_space

from va_search.data.simulate import simulate

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("ip"), reason="namespaces need root and iproute2"
    ),
]

LINK = """
ip link set lo up
ip link add wire type veth peer name far
ip link set far up
ip addr add 10.9.8.7/24 dev wire
ip link set wire up
ip route add default dev wire
"""

NETWORKS = {
    "nothing but loopback": "ip link set lo up",
    "an address that does not answer to itself": LINK
    + "ip route del local 10.9.8.7 dev wire table local",
    "an address that goes while trials train": LINK
    + """(
      while [ -z "$(ls "$HOME_OF_IT"/claims/training/*.lock 2>/dev/null)" ]; do sleep 0.2; done
      sleep 2; ip addr del 10.9.8.7/24 dev wire; ip link set wire down; echo the address is gone >&2
    ) &""",
}

MOUNTS = {
    "a read-only /dev/shm": "mount --bind /dev/shm /dev/shm; mount -o remount,ro,bind /dev/shm",
    "a TMPDIR too long for sockets": 'export TMPDIR="$HOME_OF_IT-$(printf x%.0s $(seq 60))"; mkdir -p "$TMPDIR"',
    "a /tmp/ray of somebody else": "export TMPDIR=/tmp; mount -t tmpfs tmpfs /tmp/ray; mount -o remount,ro /tmp/ray",
}


def searched(tmp_path: Path, prepared: str, *, epochs: int) -> tuple[int, dict[str, object], str]:
    """A whole search of four trials in namespaces of its own, once a shell has run these lines
    there."""
    store = simulate(tmp_path / "store", size="tiny", hidden=None).path
    space = write_space(tmp_path / "space.yaml", store, rates="[0.001, 0.003]", epochs=epochs)
    home = tmp_path / "home"
    script = f'set -e\nmount --make-rprivate /\n{prepared}\nexec "$@"'
    line = [
        "unshare",
        "--net",
        "--mount",
        "bash",
        "-c",
        script,
        "bash",
        *command(space, store, home),
    ]
    env = os.environ | {"HOME_OF_IT": str(home)}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=500, env=env)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.parametrize("network", NETWORKS)
def test_the_machines_network_does_no_harm(tmp_path: Path, network: str) -> None:
    goes = "goes" in network
    code, summary, text = searched(tmp_path, NETWORKS[network], epochs=200 if goes else 2)
    assert (code, summary["complete"], summary["failed"], summary["recovered"]) == (0, 4, 0, 0), (
        text
    )
    assert ("the address is gone" in text) == goes


@pytest.mark.parametrize("mounts", MOUNTS)
def test_where_ray_could_not_keep_its_files_another_place_is_taken(
    tmp_path: Path, mounts: str
) -> None:
    Path("/tmp/ray").mkdir(exist_ok=True)
    code, summary, text = searched(tmp_path, "ip link set lo up\n" + MOUNTS[mounts], epochs=2)
    assert (code, summary["complete"]) == (0, 4), text
