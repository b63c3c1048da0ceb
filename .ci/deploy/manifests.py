"""Checks rendered manifests, and deploy/compose.yaml.

First against published schemas: those of Kubernetes, of the Prometheus operator, and the ones in schemas/.
Then what no schema knows: names that refer to each other (selectors, ports, Secrets, the callback path),
and how restricted the pods are.
"""

import importlib
import json
import pathlib
import re
import sys
import urllib.parse

import jsonschema
import kubernetes_validate
import yaml

VERSIONS = ["1.30", "1.32", "1.34", "1.35", "1.36", kubernetes_validate.latest_version()]
# The longest orderly shutdown, and the preStop sleep that deploy/kubernetes/README.md suggests.
END_SECONDS = 23
SLEEP_SECONDS = 10
SETTINGS = "STICKYMARK__"
# What sqlx reads beside database.url.
DATABASE_SETTINGS = {"PGSSLMODE", "PGSSLROOTCERT"}
# Made from the CRDs of CloudNativePG 1.30.0, its Barman Cloud plugin 0.14.0 and Gateway API 1.6.1
# (standard channel): without descriptions and CEL rules, and with unknown fields refused.
SCHEMAS = pathlib.Path(__file__).parent / "schemas"

# The loader written in C, where there is one: the other takes a minute for a hundred files.
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
    elif (schema := SCHEMAS / f"{api.replace('/', '_')}_{resource['kind']}.json").exists():
        jsonschema.validate(resource, json.loads(schema.read_text()))
    else:
        for version in VERSIONS:
            kubernetes_validate.validate(resource, version, strict=True)


def pods(resources):
    for resource in resources:
        if resource["kind"] in ("Deployment", "StatefulSet"):
            yield resource, resource["spec"]["template"]


def restricted(where, pod, assigned_ids):
    """The Pod Security Standard `restricted`, and more."""
    context = pod["securityContext"]
    expect(where, context.get("runAsNonRoot") is True, "may run as root")
    if assigned_ids:
        fixed = {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()
        expect(where, not fixed, f"sets {fixed}, which OpenShift refuses")
    else:
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
        expect(here, not container["image"].endswith(":latest"), "has an image without a version")
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
    """Every setting exists, and every file that a setting names is mounted."""
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
            for source in volume.get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        }
        for key, value in values.items():
            of_file = key.removesuffix("_FILE")
            expect(here, {key, of_file} & (known | DATABASE_SETTINGS), f"{key} is not a setting")
            if of_file != key or key == "PGSSLROOTCERT":
                expect(here, value in mounted, f"{key}: {value} is not mounted")
        needed = ["CHAT__SECRET_KEY_FILE", "DATABASE__URL_FILE", "ADMIN__TOKENS_FILE", "ADMIN__LISTEN"]
        for key in needed:
            expect(here, SETTINGS + key in values, f"{SETTINGS + key} is missing")


def service(where, deployment, pod):
    """The Deployment of Stickymark."""
    spec = deployment["spec"]
    expect(where, spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "a rollout stops a replica before its successor is ready")
    expect(where, pod.get("terminationGracePeriodSeconds", 30) > END_SECONDS + SLEEP_SECONDS, "is killed during its shutdown")
    expect(where, pod.get("enableServiceLinks") is False, "receives variables that look like settings")
    for spread in pod["topologySpreadConstraints"]:
        honours = spread["whenUnsatisfiable"] != "DoNotSchedule" or spread.get("nodeTaintsPolicy") == "Honor"
        expect(where, honours, "waits for nodes where it must not run")
    main = pod["containers"][0]
    probes = {"startupProbe": "/livez", "readinessProbe": "/readyz?exclude=database", "livenessProbe": "/livez"}
    for probe, path in probes.items():
        expect(where, main[probe]["httpGet"] == {"path": path, "port": "admin"}, f"{probe} is not {path}")
    expect(where, main["args"] == ["serve", "--no-migrate"], "does not serve")
    expect(where, [c["args"] for c in pod["initContainers"]] == [["migrate", "--wait", "10m"], ["check", "--passing-ok"]], "does not migrate and check first")
    expect(where, all(c["image"] == main["image"] for c in pod["initContainers"]), "migrates or checks with another image")


def matches(selector, labels):
    return selector.items() <= labels.items()


def references(where, resources):
    """Selectors match pods, ports exist, and only callbacks are open to the internet."""
    templates = [template for _, template in pods(resources)]
    names = {name_of(resource) for resource in resources}
    ports = {p["name"] for t in templates for c in t["spec"]["containers"] for p in c.get("ports", [])}
    databases = [r["spec"]["inheritedMetadata"]["labels"] for r in resources if r["kind"] == "Cluster"]
    for resource in resources:
        here, spec, kind = f"{where}, {name_of(resource)}", resource.get("spec", {}), resource["kind"]
        selector = {
            "Service": lambda: spec["selector"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
        }.get(kind, dict)()
        selected = [t for t in templates if matches(selector, t["metadata"]["labels"])]
        of_database = any(matches(selector, labels) for labels in databases)
        expect(here, not selector or selected or of_database, "selects no pod")
        if kind == "NetworkPolicy":
            listening = {p["containerPort"] for t in selected for c in t["spec"]["containers"] for p in c["ports"]}
            for direction in ("ingress", "egress"):
                for port in (port["port"] for rule in spec.get(direction, []) for port in rule["ports"]):
                    expect(here, isinstance(port, int), f"port {port} is not a number")
                    known = direction == "egress" or of_database or port in listening
                    expect(here, known, f"no container listens on {port}")
        if kind == "Service":
            for port in spec["ports"]:
                target = port.get("targetPort", port["name"])
                expect(here, isinstance(target, int) or target in ports, f"no port {target}")
        if kind == "HorizontalPodAutoscaler":
            target = "{kind}/{name}".format(**spec["scaleTargetRef"])
            expect(here, target in names, "scales nothing")
            replicas = [r["spec"].get("replicas", 1) for r in resources if name_of(r) == target]
            expect(here, replicas == [spec["minReplicas"]], "an apply sets other replicas than minReplicas")
        if kind == "ScheduledBackup":
            expect(here, f"Cluster/{spec['cluster']['name']}" in names, "backs up nothing")
        for plugin in spec.get("plugins", []):
            store = f"ObjectStore/{plugin['parameters']['barmanObjectName']}"
            expect(here, store in names, f"{store} does not exist")
        if kind == "ServiceMonitor":
            labels = [r["metadata"]["labels"] for r in resources if r["kind"] == "Service"]
            expect(here, any(matches(spec["selector"]["matchLabels"], of) for of in labels), "selects no Service")
        if kind == "Ingress":
            expect(here, "defaultBackend" not in spec, "admits every path")
            secured = {host for tls in spec["tls"] for host in tls["hosts"]}
            for rule in spec["rules"]:
                expect(here, rule["host"] in secured, f"{rule['host']} is without TLS")
                for path in rule["http"]["paths"]:
                    only_callbacks(here, resources, path["pathType"], path["path"], path["backend"]["service"]["name"])
        if kind == "HTTPRoute":
            for rule in spec["rules"]:
                expect(here, rule["matches"], "admits every path")
                for path in (match["path"] for match in rule["matches"]):
                    for backend in rule["backendRefs"]:
                        only_callbacks(here, resources, path["type"], path["value"], backend["name"])


def only_callbacks(where, resources, kind, path, service):
    served = [
        resource["data"][SETTINGS + "CALLBACK__PATH"]
        for resource in resources
        if resource["kind"] == "ConfigMap" and SETTINGS + "CALLBACK__PATH" in resource.get("data", {})
    ]
    leads_to = [
        r["metadata"]["labels"]["app.kubernetes.io/component"]
        for r in resources
        if r["kind"] == "Service" and r["metadata"]["name"] == service
    ]
    expect(where, kind == "Exact", "admits more than one path")
    expect(where, [path] == served, f"{path} is not the callback path {served}")
    expect(where, leads_to == ["callback"], f"leads to {service}")


def renamed(plain, prefixed, prefix):
    """With namePrefix, no reference keeps an old name."""
    old = {r["metadata"]["name"] for r in plain if r["kind"] != "Namespace"}
    old |= {"stickymark-postgres-app", "stickymark-postgres-ca", "stickymark-backup"}
    passed_over = {"labels", "matchLabels", "selector", "annotations", "namespace", "data", "database", "owner"}

    def walk(where, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                # A container has a name of its own.
                if key not in passed_over and not (key == "name" and "image" in value):
                    walk(f"{where}.{key}", inner)
        elif isinstance(value, list):
            for inner in value:
                walk(where, inner)
        else:
            expect("namePrefix", value not in old, f"{where} is still {value}")

    for resource in prefixed:
        if resource["kind"] != "Namespace":
            walk(name_of(resource), resource)
            expect("namePrefix", resource["metadata"]["name"].startswith(prefix), f"{name_of(resource)} is not renamed")


def ways_out(where, resources):
    """The NetworkPolicies allow the ports of all addresses in settings."""
    allowed = {
        port["port"]
        for resource in resources
        if resource["kind"] == "NetworkPolicy"
        and resource["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/name") == "stickymark"
        for rule in resource["spec"].get("egress", [])
        for port in rule["ports"]
    }
    for resource in resources:
        for key, value in resource.get("data", {}).items() if resource["kind"] == "ConfigMap" else []:
            if key.startswith(SETTINGS) and "://" in value:
                url = urllib.parse.urlsplit(value)
                port = url.port or {"http": 80, "https": 443}[url.scheme]
                expect(where, port in allowed, f"{key}: no NetworkPolicy allows port {port}")


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
            expect(here, needed in document["services"], f"{needed} is not a service")
        expect(here, re.search(r":[^/:]+$", one["image"]), "has an image without a tag")
        for port in one.get("ports", []):
            expect(here, port.startswith("127.0.0.1:"), f"{port} is open to other machines")
        for key, value in one.get("environment", {}).items():
            if key.startswith(SETTINGS):
                of_file = key.removesuffix("_FILE")
                expect(here, of_file in known, f"{key} is not a setting")
            if key.endswith("_FILE"):
                secret = value.removeprefix("/run/secrets/")
                expect(here, secret in one["secrets"], f"{value} is not mounted")


def main(files):
    seen, by_name = set(), {}
    for file in files:
        where = pathlib.Path(file).stem
        resources = by_name[where] = list(yaml.load_all(open(file, encoding="utf-8"), LOADER))
        for resource in resources:
            text = json.dumps(resource)
            if text in seen:
                continue
            seen.add(text)
            here = f"{where}, {name_of(resource)}"
            try:
                against_schema(here, resource)
            except jsonschema.ValidationError as error:
                complain(here, f"{error.json_path}: {error.message}")
            except Exception as error:  # the other libraries have their own
                complain(here, str(error))
        for owner, template in pods(resources):
            here = f"{where}, {name_of(owner)}"
            restricted(here, template["spec"], assigned_ids=where.startswith("openshift"))
            if owner["metadata"]["labels"]["app.kubernetes.io/name"] == "stickymark":
                service(here, owner, template["spec"])
                settings(here, resources, template["spec"])
        references(where, resources)
        ways_out(where, resources)
    renamed(by_name["production"], by_name["prefixed"], "blue-")
    compose()
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(seen)} manifests from {len(files)} files are valid for Kubernetes {', '.join(VERSIONS)}")


if __name__ == "__main__":
    main(sys.argv[1:])
