"""Shapes of cluster files: unknown keys, wrong types, missing sections.

A launcher's file is held against the schema of the installed Ray itself, read from its folder
without importing Ray. JSON schemas find the mistakes; the words are those of `va_search.document`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from va_search.cluster.document import Document, Finding
from va_search.document import read_yaml
from va_search.document.words import (
    WORDS,
    Place,
    any_of,
    expected_found,
    limit_words,
    missing,
    wrong_name,
)
from va_search.errors import JobError, unknown_name

TYPES = {
    "integer": WORDS["int"],
    "number": WORDS["float"],
    "boolean": WORDS["bool"],
    "string": WORDS["str"],
    "array": WORDS["list"],
    "object": WORDS["dict"],
}
"""JSON schema's types in plain words."""

LIMIT_KINDS = {
    "minimum": ("greater_than_equal", "ge"),
    "maximum": ("less_than_equal", "le"),
    "minItems": ("too_short", "min_length"),
}
"""JSON schema's limits by pydantic's names for them."""
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
    """The folder where the installed Ray keeps its launcher's schema and defaults."""
    ray = importlib.util.find_spec("ray")
    if ray is None or not ray.submodule_search_locations:
        raise JobError(
            "Ray is not installed here: its schema and defaults are what a cluster file is checked against"
        )
    return Path(next(iter(ray.submodule_search_locations))) / "autoscaler"


def defaults(provider: str) -> dict[str, Any] | None:
    """Values that the installed Ray fills in for a provider; None for one without defaults."""
    path = autoscaler_folder() / provider / "defaults.yaml"
    return read_yaml(path, any_yaml=True)[0] if provider.isidentifier() and path.is_file() else None


def launcher_shape(document: Document) -> list[Finding]:
    """Problems of a launcher's file by Ray's own schema, and keys below `provider` that nothing
    reads."""
    schema = json.loads((autoscaler_folder() / "ray-schema.json").read_text(encoding="utf-8"))

    # Ray drops this key before it looks; _min_workers says so.
    findings = shape(document, schema)
    if document.has("min_workers"):
        line = document.line("min_workers")
        findings = [finding for finding in findings if finding.line != line]
    return [*findings, *_provider_keys(document), *_min_workers(document)]


def shape(document: Document, schema: Mapping[str, Any]) -> list[Finding]:
    """All problems that a JSON schema finds, and traps of YAML 1.1, at their lines."""
    from jsonschema import Draft7Validator

    findings = [Finding("yaml-value", "warning", line, trap) for line, trap in document.traps]
    for error in Draft7Validator(schema).iter_errors(document.data):
        for finding in _explained(document, error):
            if finding not in findings:  # jsonschema tells each missing key once more
                findings.append(finding)
    return findings


def _explained(document: Document, error: Any) -> Iterator[Finding]:
    """Findings for one of jsonschema's errors."""
    # One error may tell of several keys, each of which gets a finding at its own line.
    location: Place = tuple(error.absolute_path)
    keys = error.schema.get("properties", {})
    if error.validator == "additionalProperties":
        for key in error.instance:
            if key not in keys:
                sentence = unknown_name("key", key, keys)
                yield document.find_wrong("unknown-key", "error", (*location, str(key)), sentence)
    elif error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                sentence = missing(TYPES.get(keys.get(key, {}).get("type"), "a value"))
                yield document.find_wrong("missing-key", "error", (*location, key), sentence)
    elif "resources" in location:
        sentence = expected_found(WORDS["int"], error.instance)
        sentence += "; Ray takes no other here (a share of a GPU: --gpus-per-trial)"
        yield document.find_wrong("resources", "error", location, sentence)
    else:
        yield document.find_wrong("shape", "error", location, _wrong_value(location, error))


def _wrong_value(place: Place, error: Any) -> str:
    """Say what a JSON schema expected of a value, and what was found."""
    limit, value = error.validator_value, error.instance
    if error.validator in ("enum", "const"):
        return wrong_name(place, limit if error.validator == "enum" else [limit], value)
    if error.validator == "type":
        names = [limit] if isinstance(limit, str) else limit
        return expected_found(any_of([TYPES.get(name, name) for name in names]), value)
    if error.validator in LIMIT_KINDS:
        kind, key = LIMIT_KINDS[error.validator]
        return expected_found(limit_words(kind, **{key: limit}), value)
    return str(error.message)


def _min_workers(document: Document) -> Iterator[Finding]:
    """`min_workers` of the whole file, which Ray drops before it holds the file against its
    schema."""
    if document.has("min_workers") and document.at("provider", "type", kind=str) != "local":
        text = "min_workers for the whole file means something for provider local only; give it to the node types"
        yield document.find("unknown-key", "warning", ("min_workers",), text)


def _provider_keys(document: Document) -> Iterator[Finding]:
    provider = document.at("provider")
    keys = PROVIDER_KEYS.get(str(provider.get("type")))
    if keys is None:
        return
    keys = keys | {
        "type",
        "cache_stopped_nodes",
        "disable_node_updaters",
        "disable_launch_config_check",
    }
    for key in provider:
        if key not in keys:
            sentence = f"{unknown_name('key', key, keys)}; Ray reads over it"
            yield document.find_wrong("unknown-key", "warning", ("provider", key), sentence)
