"""A RayJob or RayCluster of KubeRay: the questions asked of a launcher's file, in Kubernetes' words.

The check knows the parts of KubeRay's resource that a search needs (fields of release 1.5.1 and
later); unknown parts, such as the rest of a pod's template, are left to `kubectl apply
--dry-run=server`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from va_search.cluster.access import WRITTEN_DOWN, open_mlflow
from va_search.cluster.document import Document, Finding, Place
from va_search.cluster.kuberay_schema import SCHEMAS
from va_search.cluster.mounts import HOME_OPTION, SHARED
from va_search.cluster.schema import shape
from va_search.cluster.versions import compared, image_versions

OPEN_SERVICES = {"LoadBalancer", "NodePort"}
SHARED_VOLUMES = {"persistentVolumeClaim", "nfs", "csi"}


def kuberay(document: Document) -> Iterator[Finding]:
    """Every finding about a file for KubeRay."""
    kind = str(document.data.get("kind"))
    if kind not in SCHEMAS:
        text = f"kind {kind!r}: expected {' or '.join(SCHEMAS)}"
        yield document.find("kind", "error", ("kind",), text)
        return
    yield from shape(document, SCHEMAS[kind])
    cluster: Place = ("spec",)
    if kind == "RayJob":
        cluster = ("spec", "rayClusterSpec")
        if document.at("spec").get("shutdownAfterJobFinishes") is not True:
            text = (
                "the pods stay, and are paid for, when the search has ended; write "
                "shutdownAfterJobFinishes: true"
            )
            yield document.find("stays-up", "warning", ("spec", "shutdownAfterJobFinishes"), text)
    for check in (_token, _head, _workers, _versions, _homes, _mlflow):
        yield from check(document, cluster)


def _groups(document: Document, cluster: Place) -> list[Place]:
    """Places of the head's group and of the workers' groups."""
    workers = (*cluster, "workerGroupSpecs")
    count = len(document.at(*workers, kind=list))
    return [(*cluster, "headGroupSpec"), *((*workers, index) for index in range(count))]


def _containers(document: Document, cluster: Place) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for group in _groups(document, cluster):
        keys = (*group, "template", "spec", "containers")
        for index, container in enumerate(document.at(*keys, kind=list)):
            if isinstance(container, dict):
                yield (*keys, index), container


def _environment(document: Document, container: Place) -> Mapping[str, object]:
    """Values of a container's environment variables by name, None where a value comes from
    elsewhere (a Secret)."""
    variables = {}
    for entry in document.at(*container, "env", kind=list):
        if isinstance(entry, dict):
            variables[str(entry.get("name"))] = entry.get("value")
    return variables


def _token(document: Document, cluster: Place) -> Iterator[Finding]:
    for keys, _ in _containers(document, cluster):
        if _environment(document, keys).get("RAY_AUTH_TOKEN"):
            text = f"{WRITTEN_DOWN}take it from a Secret (secretKeyRef)"
            yield document.find("token-written", "error", keys, text)
    if document.at(*cluster, "authOptions").get("mode") == "token":
        return
    for group in _groups(document, cluster):
        # The first container of a pod is Ray's.
        variables = _environment(document, (*group, "template", "spec", "containers", 0))
        if variables.get("RAY_AUTH_MODE") != "token" or "RAY_AUTH_TOKEN" not in variables:
            text = (
                "no token authentication: every pod of Kubernetes that reaches the head may run "
                "what it likes; write authOptions: {mode: token} (KubeRay 1.5.1 or newer makes the "
                "token)"
            )
            yield document.find("token-kuberay", "error", (*cluster, "authOptions"), text)
            return


def _head(document: Document, cluster: Place) -> Iterator[Finding]:
    head = (*cluster, "headGroupSpec")
    spec = document.at(*head)
    for service in (spec.get("serviceType"), document.at(*head, "headService", "spec").get("type")):
        if isinstance(service, str) and service in OPEN_SERVICES:
            text = (
                f"serviceType {service} opens dashboard and Ray to the outside; ClusterIP, and "
                "`kubectl port-forward`"
            )
            yield document.find("world-port", "error", (*head, "serviceType"), text)
    if spec.get("enableIngress"):
        text = (
            "an ingress opens the dashboard to the outside; leave it out and `kubectl port-forward`"
        )
        yield document.find("world-port", "error", (*head, "enableIngress"), text)
    keys = (*head, "rayStartParams")
    if str(document.at(*keys).get("num-cpus")) != "0":
        text = (
            "the head has its CPUs for trials, which then starve the search and MLflow; "
            'rayStartParams: {num-cpus: "0"}'
        )
        yield document.find("head-cpus", "warning", keys, text)


def _workers(document: Document, cluster: Place) -> Iterator[Finding]:
    grows = document.at(*cluster).get("enableInTreeAutoscaling") is True
    for keys in _groups(document, cluster)[1:]:
        group = document.at(*keys)
        name, replicas = group.get("groupName"), group.get("replicas", 0)
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", replicas)
        if not all(isinstance(count, int) for count in (replicas, least, most)):
            continue  # the schema's finding
        if not least <= replicas <= most:
            text = (
                f"{name}: expected minReplicas <= replicas <= maxReplicas, found {least}, "
                f"{replicas}, {most}"
            )
            yield document.find("worker-counts", "error", keys, text)
        if grows and least > 0:
            text = (
                f"{least} of {name} run from start to end, with or without trials; write "
                "minReplicas: 0"
            )
            yield document.find("always-on", "warning", (*keys, "minReplicas"), text)
        if not grows and most > replicas:
            text = (
                f"{name} stays at {replicas}: without enableInTreeAutoscaling: true nothing makes "
                "more"
            )
            yield document.find("no-workers", "warning" if replicas else "error", keys, text)
        # Each cloud has its own label for spot nodes, with the word in it.
        if "spot" not in str(document.at(*keys, "template", "spec")).lower():
            text = (
                f"{name} asks for no spot nodes (nodeSelector), which cost far less; lost trials go "
                "on elsewhere"
            )
            yield document.find("not-spot", "warning", keys, text)


def _versions(document: Document, cluster: Place) -> Iterator[Finding]:
    keys = (*cluster, "rayVersion")
    version = document.at(*keys, kind=str)
    if version:
        yield from compared(document, keys, "ray", version)
    for keys, container in _containers(document, cluster):
        for name, version in image_versions(str(container.get("image"))):
            yield from compared(document, (*keys, "image"), name, version)


def _homes(document: Document, cluster: Place) -> Iterator[Finding]:
    entrypoint: Place = ("spec", "entrypoint")
    command = document.at(*entrypoint, kind=str)
    homes: list[tuple[Place, str]] = [(entrypoint, home) for home in HOME_OPTION.findall(command)]
    for keys, _ in _containers(document, cluster):
        home = _environment(document, keys).get("VA_SEARCH_HOME")
        if home:
            homes.append((keys, str(home)))
    # Without a home of its own, the search makes one in the folder it runs in.
    if not homes:
        text = (
            "no home is said, and ./va-home would lie in the head's pod alone; VA_SEARCH_HOME in "
            f"env: {SHARED}"
        )
        yield document.find("no-home", "warning", (*cluster, "headGroupSpec"), text)
    for keys, home in homes:
        groups = _groups(document, cluster)
        if "://" not in home and not all(_is_shared(document, group, home) for group in groups):
            text = (
                f"the home {home} is a folder of each pod by itself; give an s3:// or gs:// URL, or "
                "one claim in all"
            )
            yield document.find("local-home", "error", keys, text)


def _is_shared(document: Document, group: Place, home: str) -> bool:
    """True where a pod mounts a volume that pods share at, or above, the home."""
    pod = (*group, "template", "spec")
    shared = set()
    for volume in document.at(*pod, "volumes", kind=list):
        if isinstance(volume, dict) and SHARED_VOLUMES & set(volume):
            shared.add(volume.get("name"))
    for mount in document.at(*pod, "containers", 0, "volumeMounts", kind=list):
        if isinstance(mount, dict) and mount.get("name") in shared:
            folder = str(mount.get("mountPath")).rstrip("/")
            if f"{home}/".startswith(f"{folder}/"):
                return True
    return False


def _mlflow(document: Document, cluster: Place) -> Iterator[Finding]:
    for keys, _ in _containers(document, cluster):
        words = document.at(*keys, "command", kind=list) + document.at(*keys, "args", kind=list)
        yield from open_mlflow(document, keys, " ".join(map(str, words)))
