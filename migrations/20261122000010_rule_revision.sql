-- What the in-memory filters of the replicas need to follow the rules: a revision that grows with
-- every pattern that comes, and a short log of those patterns. Kept by triggers, so that no way of
-- writing rules can forget it. See src/rules/filter.

create table rule_revision (
    -- The only row. Its lock is held until the commit, so writes of rules become visible in the
    -- order of their revisions.
    only_row     boolean not null default true,
    -- Patterns that ever came.
    revision     bigint not null,
    -- From this revision on `rule_changes` is whole; who knows less must read all rules.
    logged_since bigint not null,
    -- Patterns that ever went.
    removed      bigint not null,
    constraint rule_revision_pkey primary key (only_row),
    constraint rule_revision_is_one_row check (only_row)
) with (fillfactor = 10);

insert into rule_revision (revision, logged_since, removed) values (0, 0, 0);

create table rule_changes (
    revision           bigint not null,
    group_text         text collate "C" not null,
    group_prefix_len   smallint not null,
    account_text       text collate "C" not null,
    account_prefix_len smallint not null
);

create index rule_changes_by_revision on rule_changes (revision);

-- Moves the revision on by `came` patterns and says where it stands. The log keeps the last
-- 20,000: whoever fell further behind is served faster by reading all.
create function advance_rule_revision(came bigint, went bigint) returns bigint language plpgsql as $$
declare
    reached bigint;
    kept_from bigint;
begin
    update rule_revision set
        revision = revision + came,
        removed = removed + went,
        logged_since = case when came > 20000 then revision + came
                            else greatest(logged_since, revision + came - 20000) end
    returning revision, logged_since into reached, kept_from;
    if came > 0 then
        delete from rule_changes where revision <= kept_from;
        -- Delivered at the commit, once however many statements the transaction has.
        perform pg_notify('stickymark_rules', '');
    end if;
    return reached;
end $$;

create function note_rules_inserted() returns trigger language plpgsql as $$
declare
    came bigint := (select count(*) from added);
    reached bigint;
begin
    if came > 0 then
        reached := advance_rule_revision(came, 0);
        insert into rule_changes
        select reached, group_text, group_prefix_len, account_text, account_prefix_len
        from added where came <= 20000;
    end if;
    return null;
end $$;

create function note_rules_updated() returns trigger language plpgsql as $$
declare
    -- Most updates leave the patterns as they are.
    came bigint := (
        select count(*) from (
            select group_text, group_prefix_len, account_text, account_prefix_len from added
            except
            select group_text, group_prefix_len, account_text, account_prefix_len from removed) n);
    reached bigint;
begin
    if came > 0 then
        reached := advance_rule_revision(came, came);
        insert into rule_changes
        select reached, n.* from (
            select group_text, group_prefix_len, account_text, account_prefix_len from added
            except
            select group_text, group_prefix_len, account_text, account_prefix_len from removed) n
        where came <= 20000;
    end if;
    return null;
end $$;

create function note_rules_deleted() returns trigger language plpgsql as $$
declare
    went bigint := (select count(*) from removed);
begin
    if went > 0 then
        perform advance_rule_revision(0, went);
    end if;
    return null;
end $$;

-- Nobody can say how many went: the revision moves on without a log, so that all is read anew.
create function note_rules_truncated() returns trigger language plpgsql as $$
begin
    perform advance_rule_revision(20001, 0);
    return null;
end $$;

create trigger rules_inserted_are_noted after insert on rules
    referencing new table as added
    for each statement execute function note_rules_inserted();
create trigger rules_updated_are_noted after update on rules
    referencing old table as removed new table as added
    for each statement execute function note_rules_updated();
create trigger rules_deleted_are_noted after delete on rules
    referencing old table as removed
    for each statement execute function note_rules_deleted();
create trigger rules_truncated_are_noted after truncate on rules
    for each statement execute function note_rules_truncated();
