-- Two changes of what the filter of each replica follows.
--
-- More than a thousand patterns in one statement are not logged: an import would spend a tenth of its time
-- on it, and a replica reads all rules within a second or two.
create or replace function advance_rule_revision(came bigint, went bigint)
returns bigint language plpgsql as $$
declare
    reached bigint;
    kept_from bigint;
begin
    update rule_revision set
        revision = revision + came,
        removed = removed + went,
        logged_since = case when came > 1000 then revision + came
                            else greatest(logged_since, revision + came - 20000) end
    returning revision, logged_since into reached, kept_from;
    if came > 0 then
        delete from rule_changes where revision <= kept_from;
        -- Delivered at the commit, once however many statements the transaction has.
        perform pg_notify('stickymark_rules', '');
    end if;
    return reached;
end $$;

create or replace function note_rules_inserted() returns trigger language plpgsql as $$
declare
    came bigint := (select count(*) from added);
    reached bigint;
begin
    if came > 0 then
        reached := advance_rule_revision(came, 0);
        insert into rule_changes
        select reached, group_text, group_prefix_len, account_text, account_prefix_len
        from added where came <= 1000;
    end if;
    return null;
end $$;

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
        where came <= 1000;
    end if;
    return null;
end $$;
