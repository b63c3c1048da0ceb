-- Each replica has circuit breakers in its memory; none is shared.
set local lock_timeout = '3s';
drop table chat_pauses;
