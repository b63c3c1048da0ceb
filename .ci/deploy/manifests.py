"""Checks rendered manifests, and deploy/compose.yaml.

First against the published schemas: Kubernetes' own of its oldest and newest version that we mean, the
Prometheus operator's, and of CloudNativePG's Cluster the fields used here. Then what no schema knows:
that names meet (selectors, ports, Secrets, the callback path), and that pods are as hard as promised.
"""

import importlib
import json
import re
import sys
import urllib.parse

import jsonschema
import kubernetes_validate
import yaml

VERSIONS = ["1.30", "1.32", kubernetes_validate.latest_version()]
# What an orderly end takes at most, and the preStop sleep that deploy/kubernetes/README.md suggests.
END_SECONDS = 23
SLEEP_SECONDS = 10
SETTINGS = "STICKYMARK__"

# https://cloudnative-pg.io/documentation/current/cloudnative-pg.v1/
CLUSTER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["instances", "storage"],
    "properties": {
        "instances": {"type": "integer", "minimum": 1},
        "imageName": {"type": "string", "pattern": r".+:\d+"},
        "primaryUpdateStrategy": {"enum": ["unsupervised", "supervised"]},
        "bootstrap": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "initdb": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        key: {"type": "string"}
                        for key in ["database", "owner", "encoding", "localeCollate", "localeCType"]
                    },
                }
            },
        },
        "postgresql": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "synchronous": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["method", "number"],
                    "properties": {
                        "method": {"enum": ["any", "first"]},
                        "number": {"type": "integer", "minimum": 1},
                    },
                },
                "parameters": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "storage": {"$ref": "#/$defs/storage"},
        "walStorage": {"$ref": "#/$defs/storage"},
        "resources": {"type": "object"},
        "affinity": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "enablePodAntiAffinity": {"type": "boolean"},
                "topologyKey": {"type": "string"},
                "podAntiAffinityType": {"enum": ["preferred", "required"]},
            },
        },
    },
    "$defs": {
        "storage": {
            "type": "object",
            "additionalProperties": False,
            "required": ["size"],
            "properties": {"size": {"type": "string", "pattern": r"^\d+[MGT]i$"}},
        }
    },
}

# Written in C where there is one: a hundred files take a minute otherwise.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

problems = []


def complain(where, what):
    problems.append(f"{where}: {what}")


def expect(where, holds, what):
    if not holds:
        complain(where, what)


def name_of(resource):
    return f"{resource['kind']}/{resource['metadata']['name']}"


def against_schema(where, resource):
    api = resource["apiVersion"]
    if api.startswith("monitoring.coreos.com/"):
        models = importlib.import_module(f"cloudcoil.models.prometheus_operator.{api.split('/')[1]}")
        model = getattr(models, resource["kind"]).model_validate(resource)
        # The models drop what they do not know.
        known = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
        expect(where, known == resource, "has fields that the Prometheus operator does not know")
    elif api == "postgresql.cnpg.io/v1":
        jsonschema.validate(resource["spec"], CLUSTER)
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(resource, version, strict=True)


def pods(resources):
    for resource in resources:
        if resource["kind"] in ("Deployment", "StatefulSet"):
            yield resource, resource["spec"]["template"]


def restricted(where, pod):
    """The Pod Security Standard `restricted`, and what goes beyond it."""
    context = pod["securityContext"]
    expect(where, context.get("runAsNonRoot") is True, "may run as root")
    expect(where, context.get("runAsUser", 0) > 0, "names no user")
    expect(where, context.get("seccompProfile") == {"type": "RuntimeDefault"}, "has no seccomp profile")
    expect(where, pod.get("automountServiceAccountToken") is False, "gets a token of the cluster")
    for container in pod["containers"] + pod.get("initContainers", []):
        here = f"{where}, {container['name']}"
        context = container["securityContext"]
        expect(here, context.get("allowPrivilegeEscalation") is False, "may gain privileges")
        expect(here, context.get("capabilities") == {"drop": ["ALL"]}, "keeps capabilities")
        expect(here, context.get("readOnlyRootFilesystem") is True, "may write")
        expect(here, re.search(r":[^/:]+$", container["image"]), "has an image without a tag")
        expect(here, not container["image"].endswith(":latest"), "has an image that changes by itself")
        resources = container["resources"]
        expect(here, resources["requests"].keys() >= {"cpu", "memory"}, "requests too little")
        expect(here, "memory" in resources["limits"], "has no limit of memory")


def known_settings():
    """Keys of config/default.toml, those commented out included."""
    section, keys = None, set()
    for line in open("config/default.toml", encoding="utf-8"):
        if found := re.match(r"\[(\w+)\]", line):
            section = found[1]
        elif section and (found := re.match(r"(?:# )?(\w+) = ", line)):
            keys.add(f"{SETTINGS}{section}__{found[1]}".upper())
    return keys


def settings(where, resources, pod):
    """Every setting exists, and every file that one names is mounted."""
    known = known_settings()
    maps = {r["metadata"]["name"]: r["data"] for r in resources if r["kind"] == "ConfigMap"}
    for container in pod["containers"] + pod.get("initContainers", []):
        here = f"{where}, {container['name']}"
        values = {}
        for source in container.get("envFrom", []):
            values |= maps.get(source["configMapRef"]["name"]) or {}
        expect(here, values, "has no settings: the ConfigMap is missing")
        values |= {entry["name"]: entry["value"] for entry in container["env"]}
        mounted = {
            f"{mount['mountPath']}/{item['path']}"
            for mount in container["volumeMounts"]
            for volume in pod["volumes"]
            if volume["name"] == mount["name"]
            for source in volume["projected"]["sources"]
            for item in source["secret"]["items"]
        }
        for key, value in values.items():
            of_file = key.removesuffix("_FILE")
            expect(here, key in known or of_file in known, f"{key} is no setting")
            if of_file != key:
                expect(here, value in mounted, f"{key}: {value} is not mounted")
        needed = ["CHAT__SECRET_KEY_FILE", "DATABASE__URL_FILE", "ADMIN__TOKENS_FILE", "ADMIN__LISTEN"]
        for key in needed:
            expect(here, SETTINGS + key in values, f"{SETTINGS + key} is missing")


def service(where, deployment, pod):
    """The Deployment of Stickymark."""
    spec = deployment["spec"]
    expect(where, spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "a rollout takes one away")
    expect(where, pod.get("terminationGracePeriodSeconds", 30) > END_SECONDS + SLEEP_SECONDS, "is killed while it ends")
    expect(where, pod.get("enableServiceLinks") is False, "gets variables that look like settings")
    for spread in pod["topologySpreadConstraints"]:
        honours = spread["whenUnsatisfiable"] != "DoNotSchedule" or spread.get("nodeTaintsPolicy") == "Honor"
        expect(where, honours, "waits for nodes that it must not be on")
    main = pod["containers"][0]
    probes = {"startupProbe": "/livez", "readinessProbe": "/readyz?exclude=database", "livenessProbe": "/livez"}
    for probe, path in probes.items():
        expect(where, main[probe]["httpGet"] == {"path": path, "port": "admin"}, f"{probe} is not {path}")
    expect(where, main["args"] == ["serve", "--no-migrate"], "does not serve")
    expect(where, [c["args"] for c in pod["initContainers"]] == [["migrate"], ["check", "--passing-ok"]], "does not migrate and check first")
    expect(where, all(c["image"] == main["image"] for c in pod["initContainers"]), "migrates or checks with another image")


def matches(selector, labels):
    return selector.items() <= labels.items()


def references(where, resources):
    """Selectors find pods, ports have names that exist, and nothing but callbacks faces the internet."""
    templates = [template for _, template in pods(resources)]
    names = {name_of(resource) for resource in resources}
    ports = {p["name"] for t in templates for c in t["spec"]["containers"] for p in c.get("ports", [])}
    for resource in resources:
        here, spec = f"{where}, {name_of(resource)}", resource.get("spec", {})
        selector = {
            "Service": lambda: spec["selector"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
        }.get(resource["kind"], dict)()
        if selector and "cnpg.io/cluster" not in selector:
            found = [t for t in templates if matches(selector, t["metadata"]["labels"])]
            expect(here, found, "selects no pod")
        elif selector:
            expect(here, f"Cluster/{selector['cnpg.io/cluster']}" in names, "selects no database")
        if resource["kind"] == "Service":
            for port in spec["ports"]:
                target = port.get("targetPort", port["name"])
                expect(here, isinstance(target, int) or target in ports, f"no port {target}")
        if resource["kind"] == "HorizontalPodAutoscaler":
            expect(here, name_of_target(spec["scaleTargetRef"]) in names, "scales nothing")
        if resource["kind"] == "ServiceMonitor":
            labels = [r["metadata"]["labels"] for r in resources if r["kind"] == "Service"]
            expect(here, any(matches(spec["selector"]["matchLabels"], of) for of in labels), "selects no Service")
        if resource["kind"] == "Ingress":
            ingress(here, resources, spec)


def ways_out(where, resources):
    """The NetworkPolicies let through to whatever address a setting names."""
    let_out = {
        port["port"]
        for resource in resources
        if resource["kind"] == "NetworkPolicy"
        and resource["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "stickymark"}
        for rule in resource["spec"].get("egress", [])
        for port in rule["ports"]
    }
    for resource in resources:
        for key, value in resource.get("data", {}).items() if resource["kind"] == "ConfigMap" else []:
            if key.startswith(SETTINGS) and "://" in value:
                url = urllib.parse.urlsplit(value)
                port = url.port or {"http": 80, "https": 443}[url.scheme]
                expect(where, port in let_out, f"{key}: nothing lets port {port} out")


def name_of_target(target):
    return f"{target['kind']}/{target['name']}"


def ingress(where, resources, spec):
    expect(where, "defaultBackend" not in spec, "lets everything in")
    served = {
        resource["data"][SETTINGS + "CALLBACK__PATH"]
        for resource in resources
        if resource["kind"] == "ConfigMap" and SETTINGS + "CALLBACK__PATH" in resource.get("data", {})
    }
    secured = {host for tls in spec["tls"] for host in tls["hosts"]}
    for rule in spec["rules"]:
        expect(where, rule["host"] in secured, f"{rule['host']} is without TLS")
        for path in rule["http"]["paths"]:
            expect(where, path["pathType"] == "Exact", "lets in more than one path")
            expect(where, {path["path"]} == served, f"{path['path']} is not the callback path {served}")
            expect(where, path["backend"]["service"]["name"] == "stickymark-callback", "leads elsewhere")


def compose():
    where = "deploy/compose.yaml"
    document = yaml.safe_load(open(where, encoding="utf-8"))
    allowed = {"name", "services", "networks", "volumes", "secrets", "x-stickymark"}
    expect(where, document.keys() <= allowed, f"unknown keys {document.keys() - allowed}")
    known = known_settings()
    for name, one in document["services"].items():
        here = f"{where}, {name}"
        for kind in ("secrets", "networks"):
            for used in one.get(kind, []):
                expect(here, used in document[kind], f"{used} is not among the {kind}")
        for needed in one.get("depends_on", {}):
            expect(here, needed in document["services"], f"{needed} is no service")
        expect(here, re.search(r":[^/:]+$", one["image"]), "has an image without a tag")
        for port in one.get("ports", []):
            expect(here, port.startswith("127.0.0.1:"), f"{port} is open to everybody")
        for key, value in one.get("environment", {}).items():
            if key.startswith(SETTINGS):
                of_file = key.removesuffix("_FILE")
                expect(here, of_file in known, f"{key} is no setting")
            if key.endswith("_FILE"):
                secret = value.removeprefix("/run/secrets/")
                expect(here, secret in one["secrets"], f"{value} is not mounted")


def main(files):
    seen, count = set(), 0
    for file in files:
        where = file.rsplit("/", 1)[-1].removesuffix(".yaml")
        resources = list(yaml.load_all(open(file, encoding="utf-8"), LOADER))
        for resource in resources:
            text = json.dumps(resource)
            if text in seen:
                continue
            seen.add(text)
            count += 1
            here = f"{where}, {name_of(resource)}"
            try:
                against_schema(here, resource)
            except Exception as error:  # each library has its own
                complain(here, str(error))
        for owner, template in pods(resources):
            here = f"{where}, {name_of(owner)}"
            restricted(here, template["spec"])
            if owner["metadata"]["name"] == "stickymark":
                service(here, owner, template["spec"])
                settings(here, resources, template["spec"])
        references(where, resources)
        ways_out(where, resources)
    compose()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    versions = ", ".join(VERSIONS)
    print(f"{count} different manifests from {len(files)} files satisfy Kubernetes {versions}")


main(sys.argv[1:])
