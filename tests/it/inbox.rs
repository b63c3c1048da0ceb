//! The inbox, when the database refuses or is away.

use std::time::Duration;

use futures::FutureExt;
use stickymark::testing::domain::{Account, EventSource, GroupId, MemberEvent, RequestId, RoomEnd};
use stickymark::testing::members::{Inbox, InboxWriter, Named, News, NotTaken, Settling};
use tokio_util::sync::CancellationToken;

use crate::support::{TestDatabase, database, insert_rule, replica};

const AT_ONCE: Settling = Settling {
    settle: Duration::ZERO,
    max_wait: Duration::ZERO,
};

async fn inbox() -> (TestDatabase, Inbox, InboxWriter) {
    let database = database().await;
    insert_rule(database.db(), "room", "*", &[1000]).await;
    let (inbox, writer) = Inbox::new(&replica(database.db()), AT_ONCE);
    (database, inbox, writer)
}

fn joined(account: &str) -> News {
    joined_in("room", account)
}

fn joined_in(room: &str, account: &str) -> News {
    News::Members(
        vec![MemberEvent {
            group: GroupId::parse(room).unwrap(),
            account: Account::parse(account).unwrap(),
            source: EventSource::Join,
            at: None,
            request: RequestId::generate(),
        }],
        Named::Unknown,
    )
}

async fn rows(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("select count(*) from members")
        .fetch_one(database.db())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_that_the_database_refuses_is_dropped_alone() {
    let (database, inbox, writer) = inbox().await;
    sqlx::query("alter table members add constraint no_poison check (account <> 'poison')")
        .execute(database.db())
        .await
        .unwrap();
    // All in one batch: the writer starts when all have been handed in.
    let callers: Vec<_> = (0..300)
        .map(|number| match number {
            137 => "poison".to_owned(),
            _ => format!("user{number}"),
        })
        .map(|account| {
            let inbox = inbox.clone();
            tokio::spawn(async move { (account.clone(), inbox.hand_in(joined(&account)).await) })
        })
        .collect();
    let destroyed = News::RoomDestroyed(RoomEnd {
        group: GroupId::parse("another").unwrap(),
        at: None,
        request: RequestId::generate(),
    });
    let gone = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.hand_in(destroyed).await }
    });
    // One thread: every caller has had its first turn when this one comes back.
    tokio::task::yield_now().await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn(writer.run(stop.clone()));
    for caller in callers {
        let (account, answer) = caller.await.unwrap();
        // What is dropped is not promised.
        let expected = match &*account {
            "poison" => Err(NotTaken::Closed),
            _ => Ok(()),
        };
        assert_eq!(answer, expected, "{account}");
    }
    assert_eq!(gone.await.unwrap(), Ok(()));
    assert_eq!(
        inbox.hand_in(joined("later")).await,
        Ok(()),
        "the writer goes on"
    );
    stop.cancel();
    writing.await.unwrap();
    assert_eq!(rows(&database).await, 300);
}

#[tokio::test]
async fn news_of_a_locked_member_waits_and_all_other_news_does_not() {
    let (database, inbox, writer) = inbox().await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn(writer.run(stop.clone()));
    inbox.hand_in(joined("alice")).await.unwrap();
    let mut stranger = database.db().begin().await.unwrap();
    sqlx::query("select from members where account = 'alice' for update")
        .execute(&mut *stranger)
        .await
        .unwrap();
    let hand_in = |news| {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.hand_in(news).await })
    };
    // In one batch with the others at first, then on its own.
    let first = hand_in(joined("alice"));
    let others: Vec<_> = (0..50)
        .map(|number| hand_in(joined(&format!("user{number}"))))
        .collect();
    for other in others {
        assert_eq!(other.await.unwrap(), Ok(()));
    }
    let second = hand_in(joined("alice"));
    assert_eq!(inbox.hand_in(joined("bob")).await, Ok(()));
    assert_eq!(rows(&database).await, 52);
    assert!(!first.is_finished() && !second.is_finished());
    stranger.rollback().await.unwrap();
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(second.await.unwrap(), Ok(()));
    stop.cancel();
    writing.await.unwrap();
}

#[tokio::test]
async fn a_locked_room_and_the_end_of_a_room_with_a_locked_member_hold_up_no_other_room() {
    let end = News::RoomDestroyed(RoomEnd {
        group: GroupId::parse("room").unwrap(),
        at: None,
        request: RequestId::generate(),
    });
    for (locked, news) in [
        (
            "select from rooms where group_id = 'room' for update",
            joined("bob"),
        ),
        (
            "select from members where account = 'alice' for update",
            end,
        ),
    ] {
        let (database, inbox, writer) = inbox().await;
        let stop = CancellationToken::new();
        let db = database.db();
        insert_rule(db, "other", "*", &[1000]).await;
        let writing = tokio::spawn(writer.run(stop.clone()));
        inbox.hand_in(joined("alice")).await.unwrap();
        // Otherwise the row of a room with events just now is left as it is.
        let asleep = "update rooms set due_at = null, last_event_at = now() - interval '2 minutes'";
        sqlx::query(asleep).execute(db).await.unwrap();
        let mut stranger = db.begin().await.unwrap();
        sqlx::query(locked).execute(&mut *stranger).await.unwrap();
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.hand_in(news).await }
        });
        for number in 0..5 {
            let other = inbox.hand_in(joined_in("other", &format!("user{number}")));
            let committed = tokio::time::timeout(Duration::from_secs(10), other).await;
            assert_eq!(committed, Ok(Ok(())), "{locked}");
        }
        assert!(!waiting.is_finished(), "{locked}");
        stranger.rollback().await.unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(()), "{locked}");
        stop.cancel();
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn what_was_handed_in_before_the_close_is_written() {
    let (database, inbox, writer) = inbox().await;
    let stop = CancellationToken::new();
    let first = inbox.hand_in(joined("alice"));
    let second = inbox.hand_in(joined("bob"));
    stop.cancel();
    let closed = async {
        writer.run(stop).await;
        inbox.hand_in(joined("carol")).await
    };
    let (first, second, late) = tokio::join!(first, second, closed);
    assert_eq!(
        (first, second, late),
        (Ok(()), Ok(()), Err(NotTaken::Closed))
    );
    assert_eq!(rows(&database).await, 2);
}

/// It is bounded by members, so that memory stays bounded whatever comes, and not by their events.
#[tokio::test]
async fn an_inbox_that_nobody_empties_is_full_at_some_time() {
    let (_database, inbox, _writer) = inbox().await;
    let hand_in = |numbers: std::ops::Range<usize>| {
        let joined = numbers.map(|number| match joined(&format!("user{number}")) {
            News::Members(mut events, _) => events.remove(0),
            News::RoomDestroyed(..) => unreachable!(),
        });
        let news = News::Members(joined.collect(), Named::Unknown);
        inbox.hand_in(news).now_or_never()
    };
    for _ in 0..10 {
        assert_eq!(hand_in(0..25_000), None, "they fold");
    }
    for first in (25_000..200_000).step_by(25_000) {
        assert_eq!(hand_in(first..first + 25_000), None);
    }
    assert_eq!(inbox.waiting(), 200_000);
    assert_eq!(hand_in(200_000..200_001), Some(Err(NotTaken::Full)));
}
