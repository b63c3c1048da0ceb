"""Compares alerts and dashboard with deploy/metrics.md and deploy/runbooks.md.

Writes two files into the directory given, for promtool: dashboard.rules.yaml, the queries of the
dashboard as rules, and metrics.txt, an exposition of every documented metric.
"""

import json
import pathlib
import re
import sys

import yaml

DEPLOY = pathlib.Path("deploy")
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum")}
FOREIGN = {"up", "ALERTS"}
problems = []


def documented():
    """Name to type, labels and meaning, from the tables of metrics.md."""
    row = re.compile(r"^\| `((?:stickymark|process)_\w+)` \| (\w+)(?:, \*\*shared\*\*)? \| (.+?) \| (.+) \|$", re.M)
    metrics = {}
    for name, kind, labels, meaning in row.findall((DEPLOY / "metrics.md").read_text()):
        if name in metrics:
            problems.append(f"metrics.md: {name} is there twice")
        metrics[name] = (kind, re.findall(r"`(\w+)`", labels), meaning)
    if len(metrics) < 20:
        problems.append(f"metrics.md: only {len(metrics)} metrics were read")
    return metrics


def series_of(metrics):
    """Names as queries use them, with their labels."""
    series = {}
    for name, (kind, labels, _) in metrics.items():
        for suffix in SUFFIXES.get(kind, ("",)):
            series[name + suffix] = set(labels) | ({"le"} if suffix == "_bucket" else set())
    return series


def check_query(where, query, series):
    common = {"job", "namespace", "instance"}
    for name, matchers in re.findall(r"\b((?:stickymark|process)_\w+)(?:\{([^}]*)\})?", query):
        if name not in series:
            problems.append(f"{where}: {name} is not in metrics.md")
            continue
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in series[name] | common:
                problems.append(f"{where}: {name} has no label {label}")
        if "job=" not in matchers:
            problems.append(f"{where}: {name} without job=\"stickymark\"")


def check_alerts(series):
    rules = yaml.safe_load((DEPLOY / "alerts/stickymark.rules.yaml").read_text())
    tests = (DEPLOY / "alerts/stickymark.test.yaml").read_text()
    headings = [re.findall(r"^## (\w+)$", (DEPLOY / name).read_text(), re.M) for name in ("runbooks.md", "runbooks.zh-CN.md")]
    if headings[0] != headings[1]:
        problems.append("runbooks.zh-CN.md: other runbooks than in runbooks.md, or in another order")
    runbooks = set(headings[0])
    alerts = set()
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        check_query(rule.get("alert") or rule["record"], rule["expr"], series)
        if "alert" not in rule:
            continue
        alert = rule["alert"]
        alerts.add(alert)
        if rule["labels"]["severity"] not in ("critical", "warning"):
            problems.append(f"{alert}: a severity of its own")
        if set(rule["annotations"]) != {"summary", "description", "runbook_url"}:
            problems.append(f"{alert}: needs summary, description and runbook_url")
        elif rule["annotations"]["runbook_url"] != f"https://example.com/stickymark/runbooks.md#{alert.lower()}":
            problems.append(f"{alert}: its runbook_url leads elsewhere")
        if f'alertname="{alert}",alertstate="firing"' not in tests and f"alertname: {alert}\n" not in tests:
            problems.append(f"{alert}: no test in which it fires")
    for alert in alerts ^ runbooks:
        problems.append(f"{alert}: either an alert without a runbook, or a runbook without an alert")
    for matcher in re.findall(r'alertname=~?"([^"]*)"', (DEPLOY / "alerts/alertmanager.yaml").read_text()):
        prefix, _, rest = matcher.rstrip(")").partition("(")
        for name in {prefix + name for name in rest.split("|")} - alerts:
            problems.append(f"alertmanager.yaml: there is no alert {name}")
    return alerts


def check_dashboard(series):
    board = json.loads((DEPLOY / "grafana/stickymark.json").read_text())
    queries, ids = [], set()
    for panel in board["panels"]:
        if panel["id"] in ids:
            problems.append(f"dashboard: id {panel['id']} is there twice")
        ids.add(panel["id"])
        for target in panel.get("targets", []):
            check_query(f"dashboard, {panel['title']}", target["expr"], series)
            queries.append(target["expr"])
    for variable, value in [("$__rate_interval", "1m"), ("$__range", "1h"), ("$namespace", ".*")]:
        queries = [query.replace(variable, value) for query in queries]
    rules = [{"record": f"dashboard:query:{i}", "expr": query} for i, query in enumerate(queries)]
    return {"groups": [{"name": "dashboard", "rules": rules}]}


def exposition(metrics):
    lines = []
    for name, (kind, labels, meaning) in metrics.items():
        text = meaning.replace("\\", "").replace("\n", " ")
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        own = ",".join(f'{label}="x"' for label in labels)
        if kind == "histogram":
            for le in ("1", "+Inf"):
                lines.append(f"{name}_bucket{{{own + ',' if own else ''}le=\"{le}\"}} 1")
            lines += [f"{name}_{end}{{{own}}} 1" for end in ("sum", "count")]
        else:
            lines.append(f"{name}{{{own}}} 1")
    return "\n".join(lines) + "\n"


def main(directory):
    metrics = documented()
    series = series_of(metrics)
    alerts = check_alerts(series)
    dashboard = check_dashboard(series)
    used = json.dumps(dashboard) + (DEPLOY / "alerts/stickymark.rules.yaml").read_text()
    for name in metrics:
        if name not in used:
            problems.append(f"{name}: neither the dashboard nor an alert asks for it")
    (directory / "dashboard.rules.yaml").write_text(yaml.safe_dump(dashboard))
    (directory / "metrics.txt").write_text(exposition(metrics))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(alerts)} alerts and the dashboard agree with {len(metrics)} documented metrics")


main(pathlib.Path(sys.argv[1]))
