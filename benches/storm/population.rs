//! Who there is: rules, the members they match, and viewers that none matches.
//!
//! Of `n` rules 20 name everybody called `vip-…` in one of 20 rooms (`show-…`), 20 name one
//! account in every room, and all others one account in one room, 500 to a room. So there are
//! three shapes of rules, as a real set of rules has, and every lookup tries all three.

use anyhow::Context;
use sqlx::PgPool;

/// Rooms with a rule for a prefix.
pub const SHOWS: usize = 20;
/// Rules that name an account in every room.
const EVERYWHERE: usize = 20;
/// Members of one room that are named one by one.
pub const A_ROOM: usize = 500;

/// A member of a room.
#[derive(Clone)]
pub struct Member {
    pub group: String,
    pub account: String,
}

/// Writes `n` rules straight into the table.
pub async fn load_rules(pool: &PgPool, n: usize) -> anyhow::Result<()> {
    let exact = exact_rules(n);
    let insert = "insert into rules (id, group_text, group_prefix_len, account_text, \
        account_prefix_len, marks, enabled, label, note, version, created_at, updated_at) ";
    let rest = "'{1000}', true, 'bench', '', 1, now(), now() from generate_series(0, $1 - 1) i";
    for (columns, count) in [
        (
            "select 'exact-' || i, 'room-' || i / 500, -1, 'user-' || i, -1, ",
            exact,
        ),
        (
            "select 'prefix-' || i, 'show-' || i, -1, 'vip-', 4, ",
            SHOWS,
        ),
        (
            "select 'everywhere-' || i, '', 0, 'host-' || i, -1, ",
            EVERYWHERE,
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(format!("{insert}{columns}{rest}")))
            .bind(i32::try_from(count)?)
            .execute(pool)
            .await
            .context("loading rules")?;
    }
    sqlx::query("vacuum analyze").execute(pool).await?;
    Ok(())
}

fn exact_rules(n: usize) -> usize {
    n.saturating_sub(SHOWS + EVERYWHERE).max(1)
}

/// Members that rules name: one half by rules of their own, spread evenly over all such rules, the
/// other half by a rule for a prefix. `count` is at most 20,000, for a mark is for 1000 members.
pub fn named(count: usize, rules: usize) -> Vec<Member> {
    let exact = exact_rules(rules);
    let stride = (exact / (count / 2)).max(1);
    let one = |i: usize| {
        let half = i / 2;
        if i.is_multiple_of(2) {
            exact_member((half * stride) % exact)
        } else {
            vip(half % SHOWS, half / SHOWS)
        }
    };
    (0..count).map(one).collect()
}

/// A member with a rule of their own.
pub fn exact_member(i: usize) -> Member {
    Member {
        group: format!("room-{}", i / A_ROOM),
        account: format!("user-{i}"),
    }
}

/// A member of a show, named by the rule for its prefix.
pub fn vip(show: usize, i: usize) -> Member {
    Member {
        group: format!("show-{show}"),
        account: format!("vip-{i:05}"),
    }
}

/// Members of the same rooms that no rule names.
pub fn viewers(count: usize) -> Vec<Member> {
    let one = |i: usize| Member {
        group: format!("show-{}", i % SHOWS),
        account: format!("viewer-{i:06}"),
    };
    (0..count).map(one).collect()
}

/// Members by room.
pub fn by_room(members: &[Member]) -> std::collections::BTreeMap<&str, Vec<&str>> {
    let mut rooms: std::collections::BTreeMap<&str, Vec<&str>> = Default::default();
    for member in members {
        rooms
            .entry(&member.group)
            .or_default()
            .push(&member.account);
    }
    for accounts in rooms.values_mut() {
        accounts.sort_unstable();
        accounts.dedup();
    }
    rooms
}
