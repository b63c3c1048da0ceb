-- Rules: what the operators demand. Texts compare bytewise ("C"), so that order and prefixes mean
-- the same on every server.

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

-- The match: one probe of this index for each shape of rule finds all rules for a member.
create index rules_by_account_and_group
    on rules (account_text, group_text, account_prefix_len, group_prefix_len);

-- The rules over one pattern of rooms, and those of them that demand certain marks.
create index rules_by_group on rules (group_text, group_prefix_len, marks);

create index rules_by_label on rules (label, id);

-- The shapes of rules in use: which prefix lengths occur together. Real sets of rules have a
-- handful, and a member needs one index probe for each.
create table rule_shapes (
    group_prefix_len   smallint not null,
    account_prefix_len smallint not null,
    rules              bigint not null,
    constraint rule_shapes_pkey primary key (group_prefix_len, account_prefix_len)
);

-- What the enabled rules demand of rooms, whoever the accounts are: a million rules for a million
-- accounts are one row if they agree on rooms, marks and time. The check of the ten marks a room
-- can hold reads these instead of the rules.
create table room_demands (
    group_text       text collate "C" not null,
    group_prefix_len smallint not null,
    -- Never null, so that rows have a key: infinity and -infinity stand for open ends.
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

-- Who changed what, when. Kept when the rule itself is deleted. Rule writes are serialised, so
-- the sequence is the order of the changes.
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
