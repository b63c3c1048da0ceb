-- The request that last concerned a member: the callback of his event, or a write to the management
-- API. By it a mark that came late, or never, is followed from the callback's line in the log to the
-- call. Replicas of the version before leave it as it is.
set local lock_timeout = '3s';
alter table members add column request_id text collate "C";
