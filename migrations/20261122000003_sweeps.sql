-- The sweep: each live room is compared with what Chat holds, now and then.

alter table rooms
    add column opened_at          timestamptz not null default now(),
    -- The next sweep. Null: none is set yet, or the room is gone.
    add column sweep_due_at       timestamptz,
    -- Somebody asked for a sweep out of turn.
    add column sweep_requested_at timestamptz,
    -- Whoever sweeps holds this lease. It is not that of the calls: both may be under way at once.
    add column sweeping_until     timestamptz,
    add column sweep              uuid,
    -- The last whole sweep and what it found; null before the first.
    add column swept_at           timestamptz,
    add column sweep_found        jsonb,
    -- Sweeps in a row that could not be finished, and why the last one was not.
    add column sweep_failures     integer not null default 0,
    add column sweep_error        text,
    -- How far the rows of members whom no rule names any more have been cleared away.
    add column cleared_to         text collate "C" not null default '';

create index rooms_sweep_due on rooms (sweep_due_at) where gone_at is null and sweep_due_at is not null;
create index rooms_without_sweep on rooms (group_id) where gone_at is null and sweep_due_at is null;

-- One row, renewed every few seconds by every replica: when it is old, nobody was there to hear
-- callbacks, and every room has to be compared.
create table sweep_beat (
    single  boolean not null default true,
    beat_at timestamptz not null,
    constraint sweep_beat_pkey primary key (single),
    constraint sweep_beat_has_one_row check (single)
) with (fillfactor = 50);

insert into sweep_beat (beat_at) values (now());

-- The accounts that rules name outright in a room, page by page.
create index rules_naming_accounts on rules (group_text, group_prefix_len, account_text)
    where account_prefix_len < 0 and enabled;
-- Whether some rule names accounts there by prefix, and the marks of rules that demand nothing now.
create index rules_naming_prefixes on rules (group_text, group_prefix_len)
    where account_prefix_len >= 0 and enabled;
create index rules_disabled on rules (group_text, group_prefix_len) where not enabled;

-- Marks that a member should carry and for which the room has no place. He waits until a place is free.
alter table members add column waits_for bigint[] not null default '{}';

create index members_marked on members (group_id) where marks <> '{}';
create index members_waiting on members (group_id, pending_since) where waits_for <> '{}';
create index members_failed on members (group_id, account) where failed_at is not null;
