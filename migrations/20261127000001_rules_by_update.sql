-- The rules in the order of their latest change: a page of a million rules without sorting them all.
create index rules_by_update on rules (updated_at desc, id);
