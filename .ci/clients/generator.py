"""The client of openapi-generator: list, put, patch, import, export, explain against a service."""

import os

import stickymark_generated as client

configuration = client.Configuration(host=os.environ["URL"], access_token=os.environ["TOKEN"])
with client.ApiClient(configuration) as api:
    rules = client.RulesApi(api)
    rule = rules.put_rule("og", client.RuleInput(group="class-7", account="ann", marks=[4294967295, 1000]))
    assert sorted(rule.marks) == [1000, 4294967295] and rule.version == 1, rule
    changed = rules.patch_rule("og", client.RulePatch(marks=[1001]), if_match='"1"')
    assert changed.marks == [1001], changed
    page = rules.list_rules(q="og", matches_group="class-7")
    assert page.total == 1 and page.items[0].id == "og", page
    lines = b'{"id":"og-2","group":"class-8","account":"ann","marks":[1002]}\n'
    answer = rules.import_rules(lines, dry_run=False)
    assert answer.created == 1, answer
    text = rules.export_rules(_headers={"Accept": "text/plain"})
    assert "og-2" in text, text
    history = rules.list_rule_history("og")
    assert [entry.action.value for entry in history.items] == ["created", "updated"], history
    why = client.MembersApi(api).explain_member("class-7", "ann")
    assert why.desired == [1001] and why.matched[0].id == "og", why
    try:
        rules.put_rule("og", client.RuleInput(group="g", account="ann", marks=[700]))
        raise AssertionError("an invalid rule was accepted")
    except client.ApiException as error:
        problem = client.Problem.from_json(error.body)
        assert problem.errors[0].code == "invalid-mark", problem
    done = rules.change_rules(client.RuleChange(ids=["og", "og-2"], action="delete"))
    assert done.removed == 2, done
