-- Marks that rules named in some rooms and no longer do, so that a sweep still finds them where a
-- call that was under way set them late. Kept by triggers, so that no way of writing rules can
-- forget it. See src/resync/store.

create table retired_marks (
    group_text       text collate "C" not null,
    group_prefix_len smallint not null,
    mark             bigint not null,
    -- When a rule last ceased to name it.
    retired_at       timestamptz not null,
    constraint retired_marks_pkey primary key (group_text, group_prefix_len, mark)
);

create index retired_marks_by_time on retired_marks (retired_at);

create function note_retired_marks() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into retired_marks
        select distinct group_text, group_prefix_len, mark, now()
        from (select r.group_text, r.group_prefix_len, unnest(r.marks) as mark from removed r) gone
        on conflict on constraint retired_marks_pkey
            do update set retired_at = excluded.retired_at;
    else
        insert into retired_marks
        select group_text, group_prefix_len, mark, now()
        from (select r.group_text, r.group_prefix_len, unnest(r.marks) as mark from removed r
              except
              select a.group_text, a.group_prefix_len, unnest(a.marks) from added a) gone
        on conflict on constraint retired_marks_pkey
            do update set retired_at = excluded.retired_at;
    end if;
    return null;
end $$;

create trigger rules_updated_retire_marks after update on rules
    referencing old table as removed new table as added
    for each statement execute function note_retired_marks();
create trigger rules_deleted_retire_marks after delete on rules
    referencing old table as removed
    for each statement execute function note_retired_marks();
