-- Rooms are the queue, members its content. Only members that some rule matches have a row.
-- src/members/store/mod.rs says who sets and clears each column.

create table members (
    group_id        text collate "C" not null,
    account         text collate "C" not null,
    presence        text not null,
    -- The event that the presence comes from: its kind, Chat's time of it (Unix ms), when it arrived.
    event           text,
    event_at        bigint,
    heard_at        timestamptz,
    -- The request that last concerned the member: a callback or a write to the management API. It
    -- links a missing or late mark to the log line of the callback and to the call.
    request_id      text collate "C",
    -- The trace of that request while the member is pending: traceparent of W3C Trace Context.
    traceparent     text collate "C",
    -- The marks that Chat confirmed last, and when. An arrival or a leave empties `marks`;
    -- `confirmed_marks` still tells what the member had.
    marks           bigint[] not null default '{}',
    confirmed_at    timestamptz,
    confirmed_marks bigint[] not null default '{}',
    -- Chat may hold marks that no answer confirmed.
    in_doubt        boolean not null default false,
    -- Marks that a rule change removed while the member was in doubt.
    revoked         bigint[] not null default '{}',
    -- Marks that the member should have and for which the room has no place yet.
    waits_for       bigint[] not null default '{}',
    -- When the member must be looked at. Null: nothing to do.
    due_at          timestamptz,
    -- Since when the present work waits.
    pending_since   timestamptz,
    -- When the first callback arrived that is not served yet. The delay of a mark counts from here,
    -- through failed tries and further callbacks. Null: no callback waits.
    unserved_since  timestamptz,
    -- Every change of fact raises it; a result applies only to the generation it was decided for.
    generation      bigint not null default 0,
    -- Tries in a row that did not succeed, and why the last one did not. An event starts again.
    tries           integer not null default 0,
    last_error      text,
    failed_at       timestamptz,
    constraint members_pkey primary key (group_id, account),
    constraint members_presence_is_known check (presence in ('present', 'absent', 'unknown'))
) with (
    -- Every arrival rewrites the row a few times. Free space on the page and an eager vacuum keep
    -- the table and its indexes short.
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- The due members of a room, oldest first.
create index members_due on members (group_id, due_at) where due_at is not null;
create index members_marked on members (group_id) where marks <> '{}';
create index members_failed on members (group_id, account) where failed_at is not null;

create table rooms (
    group_id           text collate "C" not null,
    opened_at          timestamptz not null default now(),
    -- Callbacks renew it at most once a minute, so that they do not all update the row of a busy room.
    last_event_at      timestamptz,
    gone_at            timestamptz,
    -- The queue: the next claim. Never later than the first due member of the room, except by the
    -- moment that a busy room gathers members. See src/members/store/claim.rs.
    due_at             timestamptz,
    -- The lease of the round: one round per room at a time. It is the claim of all due members. An
    -- expired lease that was not released means that what became of a call is unknown.
    leased_until       timestamptz,
    lease              uuid,
    -- The next sweep. Null: not scheduled yet, or the room is gone and was checked.
    sweep_due_at       timestamptz,
    -- A request for a sweep out of turn, by a person or a change of rules.
    sweep_requested_at timestamptz,
    -- The last change of rules that requested one, as a number of the history.
    asked_at_change    bigint not null default 0,
    -- The lease of the sweep. It is separate from that of the round: both may run at once.
    sweeping_until     timestamptz,
    sweep              uuid,
    -- The last complete sweep and what it found; null before the first.
    swept_at           timestamptz,
    sweep_found        jsonb,
    -- Failed sweeps in a row, and why the last one failed.
    sweep_failures     integer not null default 0,
    sweep_error        text,
    constraint rooms_pkey primary key (group_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create index rooms_due on rooms (due_at) where due_at is not null;
-- A gone room is swept once more, because the event may be forged or wrong.
create index rooms_sweep_due on rooms (sweep_due_at) where sweep_due_at is not null;
create index rooms_without_sweep on rooms (group_id) where gone_at is null and sweep_due_at is null;

-- Members whose rows others kept locked when a change of rules reached them. It is carried to them later,
-- so that they delay no other member and no other change. See src/members/store/rule_changes.rs.
create table unreached_members (
    group_id   text collate "C" not null,
    account    text collate "C" not null,
    -- As `revoked` and `request_id` of members.
    marks      bigint[] not null,
    request_id text collate "C",
    -- The first change that did not reach them, as a number of the history.
    change     bigint not null,
    -- A rule names them that did not before: they are tried even if they are not known to be present.
    newly      boolean not null,
    tried_at   timestamptz not null default now(),
    constraint unreached_members_pkey primary key (group_id, account)
);
