"""Storage that does not answer is asked again, longer apart each time, for about two minutes.

Conventions: "not there" and "not allowed" are answers and not asked again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from va_search.errors import InputError, JobError

LOG = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds for which a request is tried again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0

REFUSALS = (
    "ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID",
    "MISSING_AUTHENTICATION_TOKEN", "UNRECOGNIZED_CLIENT", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket",
    "SignatureDoesNotMatch", "PERMISSION_DENIED", "UNAUTHENTICATED", "PermanentRedirect", "HeaderMalformed",
)  # fmt: skip
"""Parts of messages that no waiting changes."""

T = TypeVar("T")


class Unreachable(JobError):
    """Storage that did not answer for as long as it was tried."""


def patiently(what: str, action: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """`action()`, tried again while storage does not answer.

    FileNotFoundError passes through. InputError for what storage refuses, Unreachable after
    `patience` seconds; with 0, after the first attempt. `what` names URL and deed in messages."""
    began, pause, told = time.monotonic(), FIRST_PAUSE, False
    while True:
        try:
            done = action()
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = _reason(error)
            if isinstance(error, PermissionError) or any(word in str(error) for word in REFUSALS):
                raise InputError(
                    f"{what}: refused ({reason}); check bucket, region, endpoint and credentials"
                ) from error
            waited = time.monotonic() - began
            if waited + pause > patience:
                tried = f" for {waited:.0f} s" if patience else ""
                raise Unreachable(f"{what}: no answer{tried} ({reason})") from error
            if not told and patience:
                LOG.warning(
                    "%s: no answer (%s); trying again for up to %.0f s", what, reason, patience
                )
                told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            if told:
                LOG.warning("%s: answers again after %.0f s", what, time.monotonic() - began)
            return done


def _reason(error: OSError) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
