-- When the first callback was handed in that has not been served yet: the delay of a mark counts from
-- there, through failed tries and further callbacks, whereas `pending_since` says since when the
-- present work waits. Null: no callback waits. Replicas of the version before never set nor clear it.
set local lock_timeout = '3s';
alter table members add column unserved_since timestamptz;
