-- Rules, and what triggers derive from them. Triggers keep the derived tables, so that no way of
-- writing rules can forget them. Texts compare bytewise ("C"), so that order and prefixes mean the
-- same on every server.

create table rules (
    id                 text collate "C" not null,
    -- A pattern is its text without escapes and the number of characters before its star;
    -- -1 means a literal. See src/domain/pattern.rs.
    group_text         text collate "C" not null,
    group_prefix_len   smallint not null,
    account_text       text collate "C" not null,
    account_prefix_len smallint not null,
    marks              bigint[] not null,
    enabled            boolean not null,
    starts_at          timestamptz,
    ends_at            timestamptz,
    label              text collate "C" not null,
    note               text not null,
    version            bigint not null,
    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    constraint rules_pkey primary key (id),
    constraint rules_have_one_to_ten_marks check (cardinality(marks) between 1 and 10)
);

-- The match: one probe of this index for each shape of rule finds all rules that match a member.
create index rules_by_account_and_group
    on rules (account_text, group_text, account_prefix_len, group_prefix_len);

-- The rules over one pattern of rooms, and those of them that require certain marks.
create index rules_by_group on rules (group_text, group_prefix_len, marks);

create index rules_by_label on rules (label, id);

-- The order of the latest change: a page of a million rules without sorting them all.
create index rules_by_update on rules (updated_at desc, id);

-- A sweep reads the literal accounts of a room page by page. It also asks whether some rule there
-- has a prefix of accounts, and which marks disabled rules have.
create index rules_naming_accounts on rules (group_text, group_prefix_len, account_text)
    where account_prefix_len < 0 and enabled;
create index rules_naming_prefixes on rules (group_text, group_prefix_len)
    where account_prefix_len >= 0 and enabled;
create index rules_disabled on rules (group_text, group_prefix_len) where not enabled;

-- Who changed what, when. A deleted rule keeps its history. Rule writes are serialised, so the
-- sequence is the order of the changes.
create table rule_history (
    sequence   bigint generated always as identity,
    rule_id    text collate "C" not null,
    at         timestamptz not null,
    actor      text not null,
    action     text not null,
    before     jsonb,
    after      jsonb,
    request_id text,
    constraint rule_history_pkey primary key (sequence),
    constraint rule_history_action_is_known check (action in ('created', 'updated', 'deleted'))
);

create index rule_history_by_rule on rule_history (rule_id, sequence);

-- Erasing an account looks for its name in both versions of a change. Most entries have only one of them.
create index rule_history_by_account_before on rule_history ((before->>'account')) where before is not null;
create index rule_history_by_account_after on rule_history ((after->>'account')) where after is not null;

-- How far changes have been carried to the members they concern. See src/rules/propagation.rs.
create table propagation (
    only_row      boolean not null default true,
    -- All changes up to this entry of the history.
    sequence      bigint not null default 0,
    -- The changes up to this entry are being carried: so many steps of them, and within the current
    -- step the members up to this one.
    upto          bigint,
    stage         integer not null default 0,
    after_group   text collate "C" not null default '',
    after_account text collate "C" not null default '',
    constraint propagation_pkey primary key (only_row),
    constraint propagation_is_one_row check (only_row)
) with (fillfactor = 10);

insert into propagation default values;

-- The shapes of rules in use: which prefix lengths occur together. Real sets of rules have only a
-- few, and a member needs one index probe for each.
create table rule_shapes (
    group_prefix_len   smallint not null,
    account_prefix_len smallint not null,
    rules              bigint not null,
    constraint rule_shapes_pkey primary key (group_prefix_len, account_prefix_len)
);

-- What the enabled rules require in rooms, without the accounts: a million rules for a million
-- accounts are one row if they agree on rooms, marks and window. The check that a room has no more
-- than ten marks reads these rows instead of the rules.
create table room_demands (
    group_text       text collate "C" not null,
    group_prefix_len smallint not null,
    -- Never null, because they are part of the key: an open end is infinity or -infinity.
    ends_at          timestamptz not null,
    starts_at        timestamptz not null,
    marks            bigint[] not null,
    rules            bigint not null,
    constraint room_demands_pkey
        primary key (group_text, group_prefix_len, ends_at, starts_at, marks)
);

create function count_rules() returns trigger language plpgsql as $$
begin
    if tg_op in ('INSERT', 'UPDATE') then
        insert into rule_shapes as s (group_prefix_len, account_prefix_len, rules)
        select group_prefix_len, account_prefix_len, count(*) from added group by 1, 2
        on conflict on constraint rule_shapes_pkey do update set rules = s.rules + excluded.rules;

        insert into room_demands as d
            (group_text, group_prefix_len, ends_at, starts_at, marks, rules)
        select group_text, group_prefix_len, coalesce(ends_at, 'infinity'),
               coalesce(starts_at, '-infinity'), marks, count(*)
        from added where enabled group by 1, 2, 3, 4, 5
        on conflict on constraint room_demands_pkey do update set rules = d.rules + excluded.rules;
    end if;
    if tg_op in ('DELETE', 'UPDATE') then
        update rule_shapes s set rules = s.rules - gone.rules
        from (select group_prefix_len, account_prefix_len, count(*) as rules
              from removed group by 1, 2) gone
        where s.group_prefix_len = gone.group_prefix_len
          and s.account_prefix_len = gone.account_prefix_len;
        delete from rule_shapes where rules = 0;

        update room_demands d set rules = d.rules - gone.rules
        from (select group_text, group_prefix_len, coalesce(ends_at, 'infinity') as ends_at,
                     coalesce(starts_at, '-infinity') as starts_at, marks, count(*) as rules
              from removed where enabled group by 1, 2, 3, 4, 5) gone
        where (d.group_text, d.group_prefix_len, d.ends_at, d.starts_at, d.marks)
            = (gone.group_text, gone.group_prefix_len, gone.ends_at, gone.starts_at, gone.marks);
        delete from room_demands d using removed r
        where (d.group_text, d.group_prefix_len, d.ends_at, d.starts_at, d.marks)
            = (r.group_text, r.group_prefix_len, coalesce(r.ends_at, 'infinity'),
               coalesce(r.starts_at, '-infinity'), r.marks)
          and d.rules = 0;
    end if;
    return null;
end $$;

create trigger rules_inserted after insert on rules
    referencing new table as added
    for each statement execute function count_rules();
create trigger rules_updated after update on rules
    referencing old table as removed new table as added
    for each statement execute function count_rules();
create trigger rules_deleted after delete on rules
    referencing old table as removed
    for each statement execute function count_rules();

-- The in-memory filter of each replica follows the rules with this revision, which grows with every
-- new pattern (a pattern that is gone may stay in it), and with a short log of the new patterns. See src/rules/filter.
create table rule_revision (
    -- The only row. Its lock is held until the commit, so writes of rules become visible in the
    -- order of their revisions.
    only_row     boolean not null default true,
    -- Patterns added so far.
    revision     bigint not null,
    -- `rule_changes` is complete from this revision on. A replica at an older one reads all rules.
    logged_since bigint not null,
    constraint rule_revision_pkey primary key (only_row),
    constraint rule_revision_is_one_row check (only_row)
) with (fillfactor = 10);

insert into rule_revision (revision, logged_since) values (0, 0);

create table rule_changes (
    revision           bigint not null,
    group_text         text collate "C" not null,
    group_prefix_len   smallint not null,
    account_text       text collate "C" not null,
    account_prefix_len smallint not null
);

create index rule_changes_by_revision on rule_changes (revision);

-- Advances the revision by `came` patterns and returns it. The log keeps the last 20,000 patterns, because
-- a replica further behind reads all rules faster. More than a thousand patterns in one statement are not
-- logged at all: an import would spend a tenth of its time on it.
create function advance_rule_revision(came bigint) returns bigint language plpgsql as $$
declare
    reached bigint;
    kept_from bigint;
begin
    update rule_revision set
        revision = revision + came,
        logged_since = case when came > 1000 then revision + came
                            else greatest(logged_since, revision + came - 20000) end
    returning revision, logged_since into reached, kept_from;
    delete from rule_changes where revision <= kept_from;
    -- Delivered at the commit, once however many statements the transaction has.
    perform pg_notify('stickymark_rules', '');
    return reached;
end $$;

create function note_rules_inserted() returns trigger language plpgsql as $$
declare
    came bigint := (select count(*) from added);
    reached bigint;
begin
    if came > 0 then
        reached := advance_rule_revision(came);
        insert into rule_changes
        select reached, group_text, group_prefix_len, account_text, account_prefix_len
        from added where came <= 1000;
    end if;
    return null;
end $$;

-- The filter does not read rules that ended long ago, so the log must name a rule whose end changes, too.
create function note_rules_updated() returns trigger language plpgsql as $$
declare
    -- Most updates leave the patterns and the end as they are.
    came bigint := (
        select count(*) from (
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from added
            except
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from removed) n);
    reached bigint;
begin
    if came > 0 then
        reached := advance_rule_revision(came);
        insert into rule_changes
        select reached, n.group_text, n.group_prefix_len, n.account_text, n.account_prefix_len from (
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from added
            except
            select group_text, group_prefix_len, account_text, account_prefix_len, ends_at from removed) n
        where came <= 1000;
    end if;
    return null;
end $$;

create trigger rules_inserted_are_noted after insert on rules
    referencing new table as added
    for each statement execute function note_rules_inserted();
create trigger rules_updated_are_noted after update on rules
    referencing old table as removed new table as added
    for each statement execute function note_rules_updated();

-- Marks that rules required in some rooms and no longer do. A call in flight may still set them, and
-- a sweep then finds them. See src/members/store/sweep.rs.
create table retired_marks (
    group_text       text collate "C" not null,
    group_prefix_len smallint not null,
    mark             bigint not null,
    -- When a rule last stopped requiring the mark.
    retired_at       timestamptz not null,
    constraint retired_marks_pkey primary key (group_text, group_prefix_len, mark)
);

create index retired_marks_by_time on retired_marks (retired_at);

-- A rule claims its marks in its rooms once it is enabled and its window has begun. A rule that was
-- never active leaves nothing here.
create function note_retired_marks() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into retired_marks
        select distinct group_text, group_prefix_len, mark, now()
        from (select r.group_text, r.group_prefix_len, unnest(r.marks) as mark from removed r
              where r.enabled and (r.starts_at is null or r.starts_at <= now())) gone
        on conflict on constraint retired_marks_pkey
            do update set retired_at = excluded.retired_at;
    else
        insert into retired_marks
        select group_text, group_prefix_len, mark, now()
        from (select r.group_text, r.group_prefix_len, unnest(r.marks) as mark from removed r
              where r.enabled and (r.starts_at is null or r.starts_at <= now())
              except
              select a.group_text, a.group_prefix_len, unnest(a.marks) from added a
              where a.enabled and (a.starts_at is null or a.starts_at <= now())) gone
        on conflict on constraint retired_marks_pkey
            do update set retired_at = excluded.retired_at;
    end if;
    return null;
end $$;

create trigger rules_updated_retire_marks after update on rules
    referencing old table as removed new table as added
    for each statement execute function note_retired_marks();
create trigger rules_deleted_retire_marks after delete on rules
    referencing old table as removed
    for each statement execute function note_retired_marks();
