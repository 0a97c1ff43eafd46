"""The fields of KubeRay's RayJob and RayCluster that a search's file may hold, as a JSON schema.

Of release 1.5.1 and later. A pod's template is Kubernetes' own: only what Ray needs of it is said.
"""

from __future__ import annotations

from typing import Any

TEXT, YES, WHOLE = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
POD: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["name", "image"],
                        "properties": {"name": TEXT, "image": TEXT, "env": {"type": "array"}},
                    },
                },
            },
        }
    },
}
STARTING = {"rayStartParams": {"type": "object", "additionalProperties": TEXT}, "template": POD}


def _closed(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


CLUSTER = _closed(
    ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
    {
        "rayVersion": TEXT,
        "authOptions": {"type": "object", "properties": {"mode": {"enum": ["token", "disabled"]}, "secretName": TEXT}},
        "enableInTreeAutoscaling": YES,
        "autoscalerOptions": {"type": "object"},
        "gcsFaultToleranceOptions": {"type": "object"},
        "headServiceAnnotations": {"type": "object"},
        "suspend": YES,
        "headGroupSpec": _closed(
            ["template"],
            {"serviceType": TEXT, "headService": {"type": "object"}, "enableIngress": YES,
             "resources": {"type": "object"}, "labels": {"type": "object"}, **STARTING},
        ),
        "workerGroupSpecs": {
            "type": "array",
            "items": _closed(
                ["groupName", "template"],
                {"groupName": TEXT, "replicas": WHOLE, "minReplicas": WHOLE, "maxReplicas": WHOLE, "numOfHosts": WHOLE,
                 "idleTimeoutSeconds": WHOLE, "suspend": YES, "scaleStrategy": {"type": "object"},
                 "resources": {"type": "object"}, "labels": {"type": "object"}, **STARTING},
            ),
        },
    },
)  # fmt: skip
JOB = _closed(
    ["entrypoint", "rayClusterSpec"],
    {
        "entrypoint": TEXT, "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
        "shutdownAfterJobFinishes": YES, "ttlSecondsAfterFinished": WHOLE, "activeDeadlineSeconds": WHOLE,
        "backoffLimit": WHOLE, "suspend": YES, "metadata": {"type": "object"}, "runtimeEnvYAML": TEXT, "jobId": TEXT,
        "submitterPodTemplate": {"type": "object"}, "submitterConfig": {"type": "object"}, "managedBy": TEXT,
        "deletionStrategy": {"type": "object"}, "entrypointNumCpus": {"type": "number"},
        "entrypointNumGpus": {"type": "number"}, "entrypointResources": TEXT, "preRunningDeadlineSeconds": WHOLE,
        "rayClusterSpec": CLUSTER,
    },
)  # fmt: skip


def _resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    described = {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": kind},
        "metadata": {"type": "object"},
        "spec": spec,
    }
    return _closed(["apiVersion", "kind", "metadata", "spec"], described)


SCHEMAS = {"RayJob": _resource("RayJob", JOB), "RayCluster": _resource("RayCluster", CLUSTER)}
