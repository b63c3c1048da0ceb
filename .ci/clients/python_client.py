"""The client of openapi-python-client: list, put, patch, import, export, explain against a service."""

import io
import os

from stickymark_client import AuthenticatedClient
from stickymark_client.api.members import explain_member
from stickymark_client.api.rules import export_rules, import_rules, list_rules, patch_rule, put_rule
from stickymark_client.models import RuleInput, RulePatch
from stickymark_client.types import File

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"], raise_on_unexpected_status=True)
rule = put_rule.sync("pc", client=client, body=RuleInput(group="class-7", account="bob", marks=[4294967295]))
assert rule.marks == [4294967295], rule
changed = patch_rule.sync("pc", client=client, body=RulePatch(marks=[1001]), if_match='"1"')
assert changed.marks == [1001], changed
page = list_rules.sync(client=client, q="pc", matches_account="bob")
assert page.total == 1 and page.items[0].id == "pc", page
lines = b'{"id":"pc-2","group":"class-8","account":"bob","marks":[1002]}\n'
answer = import_rules.sync(client=client, body=File(payload=io.BytesIO(lines)))
assert answer.created == 1, answer
assert "pc-2" in export_rules.sync(client=client)
why = explain_member.sync(client=client, group="class-7", account="bob")
assert why.desired == [1001] and why.matched[0].id == "pc", why
problem = put_rule.sync("pc", client=client, body=RuleInput(group="g", account="bob", marks=[700]))
assert problem.errors[0].code == "invalid-mark", problem
