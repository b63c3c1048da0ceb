-- Under load the members of a room gather for one call instead of being called for a few at a time.
-- Until this moment the room is not claimed, and whoever arrives there is due at it.
set local lock_timeout = '3s';
alter table rooms add column paced_until timestamptz;

-- The worker asks for the earliest of them.
create index rooms_paced on rooms (paced_until) where paced_until is not null;

-- One room's due members, however many wait elsewhere.
create index members_due_in_room on members (group_id, due_at) where due_at is not null;
