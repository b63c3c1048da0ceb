//! The last rule of members goes, and one for them comes back while they are still in the room.

use crate::support::stage::Stage;
use crate::support::wait_for_row;

/// `vip1` and `vip2` are in the room and have lost the only rule that named them.
async fn without_a_rule() -> Stage {
    let stage = Stage::open(&[]).await;
    stage.put_rule("vips", "class-7", "vip*", &[1001]).await;
    let vips = ["vip1", "vip2"];
    stage.chat.join("class-7", &vips).await.unwrap();
    for vip in vips {
        stage.sees("class-7", vip, &[1001]).await;
    }
    stage.delete_rule("vips").await;
    for vip in vips {
        stage.sees("class-7", vip, &[]).await;
    }
    stage.rests().await;
    stage
}

#[tokio::test]
async fn a_rule_that_comes_back_acts_at_once_on_those_who_had_it() {
    let stage = without_a_rule().await;
    stage.put_rule("vips", "class-*", "vip*", &[1002]).await;
    for vip in ["vip1", "vip2"] {
        stage.sees("class-7", vip, &[1002]).await;
    }
    stage.close().await;
}

#[tokio::test]
async fn whoever_left_meanwhile_is_not_marked_and_all_are_forgotten_after_a_while() {
    let stage = without_a_rule().await;
    stage.chat.leave("class-7", &["vip2"]).await.unwrap();
    stage.put_rule("vips", "class-7", "vip*", &[1002]).await;
    stage.sees("class-7", "vip1", &[1002]).await;
    stage.delete_rule("vips").await;
    stage.sees("class-7", "vip1", &[]).await;
    stage.rests().await;
    let kept = "select extract(epoch from min(due_at) - now())::int8 / 60 from members
                where presence = 'present'";
    let minutes: i64 = sqlx::query_scalar(kept)
        .fetch_one(stage.pool())
        .await
        .unwrap();
    assert!((58..=60).contains(&minutes), "{minutes} minutes");
    let an_hour_passes = "update members set due_at = now() where due_at is not null";
    sqlx::query(an_hour_passes)
        .execute(stage.pool())
        .await
        .unwrap();
    let nobody = "select count(*) = 0 from members where presence = 'present'";
    wait_for_row(stage.pool(), nobody).await;
    stage.close().await;
}
