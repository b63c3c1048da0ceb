"""What the document cannot say of requests: rules that span several fields, and text on its own terms.

Requests made to be right are put right where only words forbid them; those made to be wrong stay
wrong. So every request is judged, and none is left out.
"""

import itertools
import json

import schemathesis
from hypothesis import strategies as st

rules = st.fixed_dictionaries(
    {
        "group": st.sampled_from(["*", "class-*", "class-7", "\\*"]),
        "account": st.sampled_from(["*", "teacher*", "ann", "老师*", "\\*"]),
        "marks": st.lists(st.sampled_from([500, 600, 1000, 4294967295]), min_size=1, unique=True),
    },
    optional={"enabled": st.booleans(), "note": st.sampled_from(["", "a\nb", "\U0001f600"])},
)


def ndjson(given):
    numbered = zip(itertools.count(), given)
    return "\n".join(json.dumps({"id": f"i{number}", **rule}) for number, rule in numbered).encode()


lines = st.lists(rules, max_size=5).map(ndjson)
for name in ["application/x-ndjson", "application/octet-stream"]:
    schemathesis.openapi.media_type(name, lines)


@schemathesis.hook
def before_load_schema(context, schema):
    # The example of a type with a strategy of its own must be bytes, which JSON does not have.
    content = schema["paths"]["/v1/rules/import"]["post"]["requestBody"]["content"]
    del content["application/x-ndjson"]["example"]


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None:
        return
    if case.meta.generation.mode.is_positive:
        put_right(case)
    else:
        keep_wrong(case)


def put_right(case):
    # A cursor is no more than what a page said.
    case.query.pop("after", None)
    if case.query.get("mode") != "replace":
        case.query.pop("max_removals", None)
    # The file is of no label, and rules of another are not to be taken.
    if case.operation.path.endswith("/import"):
        case.query.pop("label", None)
    # Between the marks of Chat and those of the app there are none.
    if case.query.get("mark"):
        case.query["mark"] = at_least_1000(case.query["mark"])
    # A version cannot be guessed.
    case.headers.pop("If-Match", None)
    case.headers.pop("If-None-Match", None)
    body = case.body
    if isinstance(body, dict):
        starts, ends = body.get("starts_at"), body.get("ends_at")
        # A patch may also clash with the time that the rule has.
        if ends is not None and (starts is not None or case.method.upper() == "PATCH"):
            body["ends_at"] = None
        if "id" in case.path_parameters:
            body.pop("id", None)
        if isinstance(body.get("marks"), list):
            body["marks"] = sorted({at_least_1000(mark) for mark in body["marks"]})
        # A filter of the log has a grammar of its own.
        if case.operation.path.endswith("/log"):
            body["filter"] = "info"
    # Accounts are measured in bytes.
    for place in (case.query, body):
        if isinstance(place, dict) and len(str(place.get("account") or "").encode()) > 64:
            place["account"] = "ann"


def at_least_1000(mark):
    return mark if mark in (500, 600) else max(int(mark), 1000)


def keep_wrong(case):
    # An empty parameter counts as absent, and would make the request right.
    for name, value in case.query.items():
        if value == "":
            case.query[name] = "\x00"
