-- A room that was declared gone is swept once more: an event may be forged or mistaken.
set local lock_timeout = '3s';
drop index rooms_sweep_due;
create index rooms_sweep_due on rooms (sweep_due_at) where sweep_due_at is not null;
