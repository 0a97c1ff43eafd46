"""A real S3 server (moto's) in a process of its own, which can be stopped and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
while True:
    time.sleep(3600)
"""
BUCKET = "challenge"


@dataclass
class S3:
    """`url` of a bucket in it, `environment` that a process needs to reach it."""

    process: subprocess.Popen[str]
    port: int
    url: str = f"s3://{BUCKET}"
    environment: dict[str, str] = field(default_factory=dict)

    def pause(self) -> None:
        """From now on requests get no answer."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def s3_server() -> Iterator[S3]:
    """With one empty bucket."""
    from pyarrow import fs

    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        endpoint = f"http://127.0.0.1:{port}"
        keys = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        made = fs.S3FileSystem(
            access_key="key", secret_key="secret", region="us-east-1", endpoint_override=endpoint,
            allow_bucket_creation=True,
        )  # fmt: skip
        until = time.monotonic() + 20
        while True:
            try:
                made.create_dir(BUCKET)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
        yield S3(process, port, environment={**keys, "AWS_ENDPOINT_URL": endpoint})
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
