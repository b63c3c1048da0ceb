"""NDJSON for the import: lines that are rules, lines that are nearly so, and noise."""

import json

import schemathesis
from hypothesis import strategies as st

ids = st.text("abcAB019._-", min_size=1, max_size=8)
patterns = st.one_of(st.sampled_from(["*", "class-*", "class-7", "老师*", "\\*"]), st.text(max_size=6))
marks = st.lists(st.sampled_from([500, 600, 1000, 1001, 4294967295, 7, -1]), max_size=3)
times = st.sampled_from([None, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00.5+08:00", "tomorrow"])
rules = st.fixed_dictionaries(
    {"id": ids, "group": patterns, "account": patterns, "marks": marks},
    optional={"label": st.text(max_size=4), "enabled": st.booleans(), "starts_at": times, "ends_at": times},
)
lines = st.one_of(rules.map(json.dumps), st.text(max_size=20))
bodies = st.lists(lines, max_size=5).map(lambda given: "\n".join(given).encode("utf-8", "replace"))

schemathesis.openapi.media_type("application/x-ndjson", bodies)
