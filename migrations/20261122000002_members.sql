-- Members and their rooms: state and queue in one. Only members that some rule names get a row.

create table members (
    group_id      text collate "C" not null,
    account       text collate "C" not null,
    presence      text not null,
    -- The event the presence comes from: which callback, Chat's time of it (Unix ms), when heard.
    event         text,
    event_at      bigint,
    heard_at      timestamptz,
    -- The marks Chat last confirmed, and when. Empty after each arrival and leave.
    marks         bigint[] not null default '{}',
    confirmed_at  timestamptz,
    -- True from the claim to the settlement: Chat may hold marks that nobody has confirmed.
    in_doubt      boolean not null default false,
    -- Marks that a rule change took away while the member was in doubt.
    revoked       bigint[] not null default '{}',
    -- The queue. Null: nothing to do.
    due_at        timestamptz,
    pending_since timestamptz,
    generation    bigint not null default 0,
    omissions     integer not null default 0,
    attempts      integer not null default 0,
    last_error    text,
    failed_at     timestamptz,
    constraint members_pkey primary key (group_id, account),
    constraint members_presence_is_known check (presence in ('present', 'absent', 'unknown'))
) with (
    -- Every arrival rewrites the row a few times; room on the page and an eager vacuum keep the
    -- table and the queue's index short.
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- The queue: the oldest due first; the group lets a claim pick one room without reading the heap.
create index members_due on members (due_at, group_id) where due_at is not null;

create table rooms (
    group_id      text collate "C" not null,
    -- Renewed at most once a minute by callbacks, so that a busy room is not a hot row.
    last_event_at timestamptz,
    -- One call per room at a time: whoever calls holds this lease.
    leased_until  timestamptz,
    lease         uuid,
    gone_at       timestamptz,
    constraint rooms_pkey primary key (group_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- The budget of calls, one row for each Chat API, shared by all replicas. See src/reapply/budget.
create table chat_budgets (
    api             text not null,
    -- The earliest moment of the next call.
    next_at         timestamptz not null,
    -- Share of the configured rate in force since `slowed_at`; recovers with time.
    share           double precision not null default 1,
    slowed_at       timestamptz not null,
    constraint chat_budgets_pkey primary key (api),
    constraint chat_budgets_share_is_a_share check (share > 0 and share <= 1)
) with (fillfactor = 50);
