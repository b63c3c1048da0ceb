-- Erasing an account looks for its name in both versions of a change. Most entries have only one of them.
create index rule_history_by_account_before on rule_history ((before->>'account')) where before is not null;
create index rule_history_by_account_after on rule_history ((after->>'account')) where after is not null;
