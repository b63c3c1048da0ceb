"""Checks licences and SBOM: release_parts.py NOTICES SBOM, with the packages ("name version") on standard input."""

import json
import re
import sys

notices = open(sys.argv[1], encoding="utf-8").read()
sbom = json.load(open(sys.argv[2], encoding="utf-8"))
packages = {line.strip() for line in sys.stdin}
named = {f"{name} {version}" for name, version in re.findall(r"^(\S+) (\d\S*): ", notices, re.M)}
components = {f"{c['name']} {c['version']}" for c in sbom["components"]}
known = {c["bom-ref"] for c in sbom["components"]} | {sbom["metadata"]["component"]["bom-ref"]}
texts = {name for line in re.findall(r"^-{80}\n((?:.+\n)+)", notices, re.M) for name in line.split()}
problems = [
    *(f"notices: {package} is missing" for package in packages - named),
    *(f"SBOM: {package} is missing" for package in packages - components),
    *(f"SBOM: {ref} is not a component" for d in sbom["dependencies"] for ref in d["dependsOn"] if ref not in known),
    *(f"SBOM: {c['name']} has no licence or checksum" for c in sbom["components"] if not c.keys() >= {"licenses", "hashes"}),
]
print(*problems, sep="\n", file=sys.stderr, end="\n" if problems else "")
print(f"licences and SBOM name {len(packages)} packages; {len(texts)} have a licence file of their own")
sys.exit(bool(problems) or len(packages) < 100)
