-- A rule claims its marks in its rooms from the moment it is enabled and its window has begun. What it
-- claimed and no longer demands is remembered here; a rule that never demanded anything leaves no trace.
set local lock_timeout = '3s';

create or replace function note_retired_marks() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into retired_marks
        select distinct group_text, group_prefix_len, mark, now()
        from (select r.group_text, r.group_prefix_len, unnest(r.marks) as mark from removed r
              where r.enabled and (r.starts_at is null or r.starts_at <= now())) gone
        on conflict on constraint retired_marks_pkey
            do update set retired_at = excluded.retired_at;
    else
        insert into retired_marks
        select group_text, group_prefix_len, mark, now()
        from (select r.group_text, r.group_prefix_len, unnest(r.marks) as mark from removed r
              where r.enabled and (r.starts_at is null or r.starts_at <= now())
              except
              select a.group_text, a.group_prefix_len, unnest(a.marks) from added a
              where a.enabled and (a.starts_at is null or a.starts_at <= now())) gone
        on conflict on constraint retired_marks_pkey
            do update set retired_at = excluded.retired_at;
    end if;
    return null;
end $$;
