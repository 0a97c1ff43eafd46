"""Where homes and stores may lie: a path, or the URL of an object store.

Conventions: `s3://bucket/prefix` (AWS, or any server that speaks S3), `gs://bucket/prefix`,
`file:///folder`. A URL has no `/` at its end and no credentials in it: those come from the
environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS), from the profile of ~/.aws that AWS_PROFILE
names, or from the machine's role.
"""

from __future__ import annotations

import configparser
import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from va_search.errors import InputError
from va_search.storage.redaction import without_secrets
from va_search.verified import user_cache

SCHEMES = ("s3", "gs", "file")

CONNECT, QUICK, BULK = "5s", "5s", "60s"
"""How long one request may take: to connect, to ask about a file, to move one or a part of it."""

ATTEMPTS = 2
"""Of one request; `remote.patiently` tries again for longer than that."""

ELSEWHERE = ("role_arn", "sso_", "credential_process", "credential_source")
"""Beginnings of a profile's settings that say where other keys come from."""

CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def is_url(place: str | Path) -> bool:
    """Return True for a URL, False for a path."""
    return "://" in str(place)


def checked_url(url: str) -> str:
    """Return `url` in its one spelling; InputError for a scheme that is not known, no bucket, or
    credentials inside."""
    parts = urlsplit(url)
    shown = without_secrets(url)
    if parts.scheme not in SCHEMES:
        allowed = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(
            f"{shown}: {parts.scheme}:// is not known; allowed: a path, or a URL with {allowed}"
        )
    if "@" in parts.netloc:
        without_secret = f"{parts.scheme}://…@{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise InputError(
            f"{without_secret}: credentials in a URL end up in files and logs; give them in the "
            "environment"
        )
    if "%" in url and parts.scheme != "file":
        raise InputError(
            f"{shown}: can't hold %; write the characters themselves, or another prefix"
        )
    if parts.query or parts.fragment:
        raise InputError(
            f"{shown}: can't hold ? or #; region and endpoint come from AWS_REGION and "
            "AWS_ENDPOINT_URL"
        )
    if parts.scheme == "file":
        if parts.netloc or parts.path in ("", "/"):
            raise InputError(f"{url}: expected file:///folder")
    elif not parts.netloc:
        raise InputError(f"{url}: no bucket; expected {parts.scheme}://bucket/prefix")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def connection(url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return obstore's settings for a bucket's URL: for short requests, and for those that move
    files."""
    settings: dict[str, Any] = {"retry_config": {"max_retries": ATTEMPTS - 1}}
    if urlsplit(url).scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint:
            settings["endpoint"] = endpoint
        settings |= _profile()
    client = {"allow_http": True, "connect_timeout": CONNECT}
    quick = settings | {"client_options": client | {"timeout": QUICK}}
    bulk = settings | {"client_options": client | {"timeout": BULK}}
    return quick, bulk


def _profile() -> dict[str, str]:
    """Return region and keys of the profile of ~/.aws that AWS_PROFILE names (`default`), which the
    environment comes before."""
    name = os.environ.get("AWS_PROFILE", "default")
    folder = Path.home() / ".aws"
    config = _ini(os.environ.get("AWS_CONFIG_FILE", folder / "config"))
    credentials = _ini(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", folder / "credentials"))
    section = name if name == "default" else f"profile {name}"
    profile = dict(config[section]) if section in config else {}
    if name in credentials:
        profile |= dict(credentials[name])
    has_keys = "AWS_ACCESS_KEY_ID" in os.environ
    if not has_keys and "AWS_PROFILE" in os.environ and not profile:
        raise InputError(f"AWS_PROFILE={name}: ~/.aws has no such profile, or nothing in it")
    other = [key for key in profile if key.startswith(ELSEWHERE)]
    if not has_keys and other and CREDENTIALS[0] not in profile:
        raise InputError(
            f"profile {name} of ~/.aws takes its keys from {other[0]}, which is not read here; put "
            "them into the environment: aws configure export-credentials --format env"
        )
    settings: dict[str, str] = {}
    if "region" in profile and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys():
        settings["region"] = profile["region"]
    if not has_keys:
        settings |= {key: profile[key] for key in CREDENTIALS if key in profile}
    return settings


def _ini(path: str | Path) -> configparser.ConfigParser:
    """Read a file of ~/.aws, empty where there is none; InputError where it can't be read."""
    content = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        content.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({str(error).splitlines()[0]})") from error
    return content


def cache_folder(kind: str, url: str) -> Path:
    """Return the folder on this machine that keeps copies of what lies at a URL; `kind` is homes or
    stores."""
    name = f"{url.rpartition('/')[2][:40]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    safe = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in name)
    return user_cache() / kind / safe.lstrip("._-")
