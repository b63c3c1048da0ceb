"""Compares what Helm renders with what Kustomize renders, for equal choices.

    helm.py HELM.yaml KUSTOMIZE.yaml...

What differs by nature is left out: the labels that Helm adds, namespaces, and how a changed setting restarts
the pods (a hash in the name of the ConfigMap, or a checksum in an annotation). The chart has no
database.
"""

import difflib
import re
import sys

import yaml

OF_HELM = {"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"}
NOT_IN_CHART = {"Namespace", "Cluster", "ObjectStore", "ScheduledBackup", "NetworkPolicy/stickymark-postgres"}


def plain(value):
    if isinstance(value, dict):
        left = {k: plain(v) for k, v in value.items() if k not in OF_HELM | {"checksum/settings", "namespace"}}
        return {k: v for k, v in left.items() if not (k == "annotations" and not v)}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"^stickymark-settings-[a-z0-9]{10}$", "stickymark-settings", value)
    return value


def objects(files):
    found = {}
    for file in files:
        for resource in filter(None, yaml.safe_load_all(open(file, encoding="utf-8"))):
            kind, name = resource["kind"], plain(resource["metadata"]["name"])
            if not {kind, f"{kind}/{name}"} & NOT_IN_CHART:
                resource["metadata"]["labels"].setdefault("app.kubernetes.io/name", "stickymark")
                found[f"{kind}/{name}"] = yaml.safe_dump(plain(resource)).splitlines()
    return found


def main(helm, *kustomize):
    helm, kustomize = objects([helm]), objects(kustomize)
    same = True
    for name in sorted(helm.keys() | kustomize.keys()):
        if helm.get(name) != kustomize.get(name):
            same = False
            difference = difflib.unified_diff(
                kustomize.get(name, []), helm.get(name, []), f"{name} by Kustomize", f"{name} by Helm", lineterm=""
            )
            print(*difference, sep="\n", file=sys.stderr)
    sys.exit(0 if same else 1)


main(*sys.argv[1:])
