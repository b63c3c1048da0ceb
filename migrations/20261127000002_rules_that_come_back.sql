-- The filter does not read rules that ended long ago, so the log must name a rule whose end changes.
create or replace function note_rules_updated() returns trigger language plpgsql as $$
declare
    -- Most updates leave patterns and end as they are.
    came bigint := (
        select count(*) from (
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from added
            except
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from removed) n);
    reached bigint;
begin
    if came > 0 then
        reached := advance_rule_revision(came, came);
        insert into rule_changes
        select reached, n.group_text, n.group_prefix_len, n.account_text, n.account_prefix_len from (
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from added
            except
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from removed) n
        where came <= 20000;
    end if;
    return null;
end $$;
