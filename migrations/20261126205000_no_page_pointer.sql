-- Rows of members that no rule matches are deleted without a pointer into the room.
set local lock_timeout = '3s';
alter table rooms drop column cleared_to;
