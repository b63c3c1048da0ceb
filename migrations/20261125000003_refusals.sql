-- Tries in a row at which Chat refused the member beside others whom it served, with a code by which it
-- may only mean that it does not see him yet: after some of them he is given up. Replicas of the version
-- before leave the number as it is; at worst a member is given up some tries early during a rollout.
set local lock_timeout = '3s';
alter table members add column refusals integer not null default 0;
