-- Calls to Chat that wait for a human, shared by all replicas: a row while a circuit is open, none
-- while calls go out. See src/reapply/pause.

create table chat_pauses (
    -- Which calls: those that set marks, or those that compare rooms.
    circuit  text not null,
    -- What Chat said last, and what to do about it.
    reason   text not null,
    advice   text,
    since    timestamptz not null,
    -- Time between two probes; doubles with each that fails.
    length   interval not null,
    -- No probe before this. Moved on by whoever takes the next one, so that nobody else does.
    probe_at timestamptz not null,
    -- The probe that is out.
    probe    uuid,
    constraint chat_pauses_pkey primary key (circuit)
) with (fillfactor = 50);
