-- Which marks rules demand at all, by hopping from one set to the next: where they are ten or fewer,
-- no room can need an eleventh, and a write over all rooms need not look at each of them.
set local lock_timeout = '3s';
create index room_demands_by_marks on room_demands (marks);
