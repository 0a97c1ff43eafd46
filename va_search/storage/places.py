"""Where homes and stores may lie: a path, or a URL that pyarrow can open.

Conventions: `s3://bucket/prefix` (AWS, or any server that speaks S3), `gs://bucket/prefix`,
`file:///folder`. A URL has no `/` at its end and no credentials in it: those come from the
environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS) or from the machine's role."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from va_search.errors import InputError

SCHEMES = ("s3", "gs", "file")

CONNECT_SECONDS, ANSWER_SECONDS, ATTEMPTS = 5.0, 5.0, 2
"""What one request to S3 may take; `patience.py` tries again for longer than that."""


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL rather than a path."""
    return "://" in str(place)


def checked_url(url: str) -> str:
    """`url` in its one spelling; InputError for a scheme that is not known, no bucket, or
    credentials inside."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        allowed = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(
            f"{url}: {parts.scheme}:// is not known; allowed: a path, or a URL with {allowed}"
        )
    if "@" in parts.netloc:
        said = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise InputError(
            f"{said}: credentials in a URL end up in files and logs; give them in the environment"
        )
    if parts.query or parts.fragment:
        raise InputError(
            f"{url}: can't hold ? or #; region and endpoint come from AWS_REGION and AWS_ENDPOINT_URL"
        )
    if parts.scheme == "file":
        if parts.netloc or parts.path in ("", "/"):
            raise InputError(f"{url}: expected file:///folder")
    elif not parts.netloc:
        raise InputError(f"{url}: no bucket; expected {parts.scheme}://bucket/prefix")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def open_place(url: str) -> tuple[Any, str]:
    """pyarrow's file system for a URL, and the path in it. Nothing is asked of a server yet."""
    from pyarrow import fs

    parts = urlsplit(checked_url(url))
    if parts.scheme == "file":
        return fs.LocalFileSystem(), parts.path
    inside = f"{parts.netloc}{parts.path}"
    if parts.scheme == "gs":
        return fs.FileSystem.from_uri(f"gs://{inside}")[0], inside
    given = {
        name: os.environ.get(name)
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION")
    }
    return fs.S3FileSystem(
        endpoint_override=given["AWS_ENDPOINT_URL_S3"] or given["AWS_ENDPOINT_URL"],
        region=given["AWS_REGION"] or os.environ.get("AWS_DEFAULT_REGION"),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=ANSWER_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,
    ), inside


def cache_folder(kind: str, url: str) -> Path:
    """The folder on this machine that keeps copies of what lies at a URL; `kind` is homes or
    stores."""
    given = os.environ.get("VA_SEARCH_CACHE")
    root = (
        Path(given)
        if given
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "va-search"
    )
    name = f"{url.rpartition('/')[2][:40]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    safe = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in name).lstrip("._-")
    return root.resolve() / kind / safe
