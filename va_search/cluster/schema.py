"""The shape of a file: unknown keys, wrong types, missing sections.

A launcher's file is held against the schema of the installed Ray itself, read from its folder
without importing Ray."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from va_search.cluster.document import Document, Finding
from va_search.document import read_yaml
from va_search.errors import JobError, unknown_name

PROVIDER_KEYS = {
    "aws": {
        "availability_zone",
        "cloudwatch",
        "key_pair",
        "region",
        "security_group",
        "use_internal_ips",
    },
    "gcp": {"availability_zone", "gcp_credentials", "project_id", "region", "use_internal_ips"},
    "local": {"coordinator_address", "external_head_ip", "head_ip", "worker_ips"},
}
"""What Ray reads below `provider`, where its schema allows anything; besides `type` and
`cache_stopped_nodes`."""


def autoscaler_folder() -> Path:
    """Where the installed Ray keeps its launcher's schema and defaults."""
    found = importlib.util.find_spec("ray")
    if found is None or not found.submodule_search_locations:
        raise JobError(
            "Ray is not installed here: its schema and defaults are what a cluster file is checked against"
        )
    return Path(next(iter(found.submodule_search_locations))) / "autoscaler"


def defaults(provider: str) -> dict[str, Any] | None:
    """What the installed Ray fills in for a provider; None for a provider without defaults."""
    path = autoscaler_folder() / provider / "defaults.yaml"
    return read_yaml(path, any_yaml=True)[0] if provider.isidentifier() and path.is_file() else None


def launcher_shape(document: Document) -> list[Finding]:
    """Problems of a launcher's file by Ray's own schema, and keys below `provider` that nothing
    reads."""
    schema = json.loads((autoscaler_folder() / "ray-schema.json").read_text(encoding="utf-8"))
    found = [
        one for one in shape(document, schema) if one.line != document.lines.get(("min_workers",))
    ]
    return found + list(_provider_keys(document)) + list(_min_workers(document))


def shape(document: Document, schema: dict[str, Any]) -> list[Finding]:
    """All problems that a JSON schema finds, at their lines."""
    from jsonschema import Draft7Validator

    found: list[Finding] = []
    for error in Draft7Validator(schema).iter_errors(document.data):
        place = tuple(error.absolute_path)
        where = ".".join(map(str, place)) or "the file"
        if error.validator == "additionalProperties":
            for key in set(error.instance) - set(error.schema.get("properties", {})):
                text = f"{unknown_name('key', key, error.schema.get('properties', {}))}, in {where}"
                found.append(document.find("unknown-key", "error", (*place, str(key)), text))
        elif error.validator == "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            text = f"{where} lacks {', '.join(missing)}"
            if not any(
                one.text == text for one in found
            ):  # jsonschema tells each missing key once more
                found.append(document.find("missing-key", "error", place, text))
        elif "resources" in place:
            text = f"{where}: {error.instance!r}; Ray takes whole numbers only here (a share of a GPU: --gpus-per-trial)"
            found.append(document.find("resources", "error", place, text))
        else:
            found.append(document.find("shape", "error", place, f"{where}: {error.message}"))
    return found


def _min_workers(document: Document) -> Iterable[Finding]:
    """`min_workers` of the whole file, which Ray drops before it holds the file against its
    schema."""
    if document.has("min_workers") and document.at("provider", "type", kind=str) != "local":
        text = "min_workers for the whole file means something for provider local only; give it to the node types"
        yield document.find("unknown-key", "warning", ("min_workers",), text)


def _provider_keys(document: Document) -> Iterable[Finding]:
    provider = document.at("provider")
    known = PROVIDER_KEYS.get(str(provider.get("type")))
    if known is None:
        return
    known = known | {
        "type",
        "cache_stopped_nodes",
        "disable_node_updaters",
        "disable_launch_config_check",
    }
    for key in provider:
        if key not in known:
            text = f"{unknown_name('key', key, known)}, in provider; Ray reads over it"
            yield document.find("unknown-key", "warning", ("provider", key), text)
