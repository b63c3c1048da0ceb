-- What all replicas share besides rules and members.

-- The budget of calls, one row for each Chat API. See src/chat/budget.rs.
create table chat_budgets (
    api       text not null,
    -- The slot of the latest call, now or soon.
    last_at   timestamptz not null,
    -- The share of the configured rate, in effect since `slowed_at`; it recovers with time.
    share     double precision not null default 1,
    slowed_at timestamptz not null,
    constraint chat_budgets_pkey primary key (api),
    constraint chat_budgets_share_is_a_share check (share > 0 and share <= 1)
) with (fillfactor = 50);

-- The heartbeat: every replica renews this row every few seconds. If it is old, no replica received
-- callbacks in between, and every room must be compared with Chat. See src/resync/heartbeat.rs.
create table sweep_beat (
    single  boolean not null default true,
    beat_at timestamptz not null,
    constraint sweep_beat_pkey primary key (single),
    constraint sweep_beat_has_one_row check (single)
) with (fillfactor = 50);

insert into sweep_beat (beat_at) values (now());

-- What the callback listener of each replica received lately, one row a replica, written every few
-- seconds. Callbacks come to any replica and a status is read on one, so each needs the reports of
-- all. Only src/callback/arrivals.rs reads the document.
create table callback_reports (
    replica     uuid not null,
    reported_at timestamptz not null,
    report      jsonb not null,
    constraint callback_reports_pkey primary key (replica)
) with (fillfactor = 50);
