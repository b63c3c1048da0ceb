-- What the callback listener of each replica received lately, one row a replica, written every few
-- seconds. Callbacks come to any replica and a status is read on one, so each needs the reports of
-- all. Only src/callback/reports.rs reads the document.
create table callback_reports (
    replica     uuid not null,
    reported_at timestamptz not null,
    report      jsonb not null,
    constraint callback_reports_pkey primary key (replica)
) with (fillfactor = 50);
