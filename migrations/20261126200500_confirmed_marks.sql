-- The marks that Chat confirmed at `confirmed_at`. A leave empties `marks`, and not this: it says what
-- the member had.
set local lock_timeout = '3s';
alter table members add column confirmed_marks bigint[] not null default '{}';

-- No statement reads it any more.
drop index members_waiting;
