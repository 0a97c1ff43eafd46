"""A RayJob or RayCluster of KubeRay: the same questions as for the launcher, in Kubernetes' words.

Of KubeRay's resource this knows what a search needs (fields of release 1.5.1 and later); what it
does not know, such as the rest of a pod's template, it leaves to `kubectl apply --dry-run=server`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from va_search.cluster.document import Document, Finding, Place
from va_search.cluster.homes import HOME_OPTION, SHARED
from va_search.cluster.kuberay_schema import SCHEMAS
from va_search.cluster.ports import open_mlflow
from va_search.cluster.schema import shape
from va_search.cluster.versions import compared, image_versions

OPEN_SERVICES = {"LoadBalancer", "NodePort"}


def kuberay(document: Document) -> Iterator[Finding]:
    """Everything this check knows about a file for KubeRay."""
    kind = str(document.data.get("kind"))
    if kind not in SCHEMAS:
        text = f"kind {kind!r}: expected {' or '.join(SCHEMAS)}"
        yield document.find("kind", "error", ("kind",), text)
        return
    yield from shape(document, SCHEMAS[kind])
    cluster: Place = ("spec", "rayClusterSpec") if kind == "RayJob" else ("spec",)
    if kind == "RayJob":
        yield from _job(document)
    yield from _token(document, cluster)
    yield from _head(document, cluster)
    yield from _workers(document, cluster)
    yield from _versions(document, cluster)
    yield from _homes(document, cluster)
    for place, _ in _containers(document, cluster):
        parts = [
            part for key in ("command", "args") for part in document.at(*place, key, kind=list)
        ]
        said = " ".join(map(str, parts))
        yield from open_mlflow(document, place, said)


def _job(document: Document) -> Iterator[Finding]:
    if document.at("spec").get("shutdownAfterJobFinishes") is not True:
        text = "the pods stay, and are paid for, when the search has ended; write shutdownAfterJobFinishes: true"
        yield document.find("stays-up", "warning", ("spec", "shutdownAfterJobFinishes"), text)


def _groups(document: Document, cluster: Place) -> list[Place]:
    workers = document.at(*cluster, "workerGroupSpecs", kind=list)
    return [
        (*cluster, "headGroupSpec"),
        *((*cluster, "workerGroupSpecs", index) for index in range(len(workers))),
    ]


def _containers(document: Document, cluster: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    for group in _groups(document, cluster):
        place = (*group, "template", "spec", "containers")
        for index, container in enumerate(document.at(*place, kind=list)):
            if isinstance(container, dict):
                yield (*place, index), container


def _environment(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    entries = container.get("env")
    return (
        {str(one.get("name")): one for one in entries if isinstance(one, dict)}
        if isinstance(entries, list)
        else {}
    )


def _token(document: Document, cluster: Place) -> Iterator[Finding]:
    for place, container in _containers(document, cluster):
        value = _environment(container).get("RAY_AUTH_TOKEN", {}).get("value")
        if value:
            text = "a token is written down in this file, which others read; take it from a Secret (secretKeyRef)"
            yield document.find("token-written", "error", place, text)
    if document.at(*cluster, "authOptions").get("mode") == "token":
        return
    for group in _groups(document, cluster):  # the first container of a pod is Ray's
        first = document.at(*group, "template", "spec", "containers", 0)
        given = _environment(first)
        if given.get("RAY_AUTH_MODE", {}).get("value") != "token" or "RAY_AUTH_TOKEN" not in given:
            text = (
                "no token authentication: every pod of Kubernetes that reaches the head may run what it likes; write "
                "authOptions: {mode: token} (KubeRay 1.5.1 or newer makes the token)"
            )
            yield document.find("token-kuberay", "error", (*cluster, "authOptions"), text)
            return


def _head(document: Document, cluster: Place) -> Iterator[Finding]:
    head = (*cluster, "headGroupSpec")
    for service in (
        document.at(*head).get("serviceType"),
        document.at(*head, "headService", "spec").get("type"),
    ):
        if isinstance(service, str) and service in OPEN_SERVICES:
            text = f"serviceType {service} opens dashboard and Ray to the outside; ClusterIP, and `kubectl port-forward`"
            yield document.find("world-port", "error", (*head, "serviceType"), text)
    if document.at(*head).get("enableIngress"):
        text = (
            "an ingress opens the dashboard to the outside; leave it out and `kubectl port-forward`"
        )
        yield document.find("world-port", "error", (*head, "enableIngress"), text)
    if str(document.at(*head, "rayStartParams").get("num-cpus")) != "0":
        text = 'the head has its CPUs for trials, which then starve the search and MLflow; rayStartParams: {num-cpus: "0"}'
        yield document.find("head-cpus", "warning", (*head, "rayStartParams"), text)


def _workers(document: Document, cluster: Place) -> Iterator[Finding]:
    grows = document.at(*cluster).get("enableInTreeAutoscaling") is True
    for place in _groups(document, cluster)[1:]:
        group = document.at(*place)
        name, now = group.get("groupName"), group.get("replicas", 0)
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", now)
        if not all(isinstance(count, int) for count in (now, least, most)):
            continue
        if not least <= now <= most:
            text = f"{name}: expected minReplicas <= replicas <= maxReplicas, found {least}, {now}, {most}"
            yield document.find("worker-counts", "error", place, text)
        if grows and least > 0:
            text = f"{least} of {name} run from start to end, with or without trials; write minReplicas: 0"
            yield document.find("always-on", "warning", (*place, "minReplicas"), text)
        if not grows and most > now:
            text = (
                f"{name} stays at {now}: without enableInTreeAutoscaling: true nothing makes more"
            )
            yield document.find("no-workers", "warning" if now else "error", place, text)
        if "spot" not in str(document.at(*place, "template", "spec")).lower():
            text = f"{name} asks for no spot nodes (nodeSelector), which cost far less; lost trials go on elsewhere"
            yield document.find("not-spot", "warning", place, text)


def _versions(document: Document, cluster: Place) -> Iterator[Finding]:
    said = document.at(*cluster, "rayVersion", kind=str)
    if said:
        yield from compared(document, (*cluster, "rayVersion"), "ray", said)
    for place, container in _containers(document, cluster):
        for name, found in image_versions(str(container.get("image"))):
            yield from compared(document, (*place, "image"), name, found)


def _homes(document: Document, cluster: Place) -> Iterator[Finding]:
    entry = document.at("spec", "entrypoint", kind=str)
    said: list[tuple[Place, str]] = [
        (("spec", "entrypoint"), home) for home in HOME_OPTION.findall(entry)
    ]
    for place, container in _containers(document, cluster):
        home = _environment(container).get("VA_SEARCH_HOME", {}).get("value")
        said += [(place, str(home))] if home else []
    if not said:
        text = f"no home is said, and ./va-home would lie in the head's pod alone; VA_SEARCH_HOME in env: {SHARED}"
        yield document.find("no-home", "warning", (*cluster, "headGroupSpec"), text)
    for place, home in said:
        if "://" not in home and not all(
            _claims(document, group, home) for group in _groups(document, cluster)
        ):
            text = f"the home {home} is a folder of each pod by itself; give an s3:// or gs:// URL, or one claim in all"
            yield document.find("local-home", "error", place, text)


def _claims(document: Document, group: Place, home: str) -> bool:
    """Whether a pod mounts a volume that pods share at, or above, the home."""
    pod = (*group, "template", "spec")
    shared = {
        one.get("name")
        for one in document.at(*pod, "volumes", kind=list)
        if isinstance(one, dict) and {"persistentVolumeClaim", "nfs", "csi"} & set(one)
    }
    return any(
        mount.get("name") in shared
        and f"{home}/".startswith(f"{str(mount.get('mountPath')).rstrip('/')}/")
        for mount in document.at(*pod, "containers", 0, "volumeMounts", kind=list)
        if isinstance(mount, dict)
    )
