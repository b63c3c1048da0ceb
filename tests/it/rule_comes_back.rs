//! The last rule of members goes, and one for them comes back while they are still in the room.

use serde_json::json;
use stickymark::api::status::figures::shared_figures;
use stickymark::domain::GroupId;
use stickymark::members::WakeUp;
use stickymark::resync;

use crate::support::stage::Stage;
use crate::support::wait_for_row;

const AN_HOUR_PASSES: &str =
    "update members set confirmed_at = confirmed_at - interval '61 minutes',
    heard_at = heard_at - interval '61 minutes'";

/// No sweep comes to help.
async fn stage() -> Stage {
    Stage::open(&[("STICKYMARK__RESYNC__INTERVAL", "0s")]).await
}

/// `vip1` and `vip2` are in the room and have lost the only rule that named them.
async fn without_a_rule() -> Stage {
    let stage = stage().await;
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

/// Switched off first, so that his marks were gone before his rule went.
#[tokio::test]
async fn the_same_of_those_whose_rule_was_switched_off_before() {
    let stage = stage().await;
    stage.put_rule("vips", "class-7", "vip*", &[1001]).await;
    stage.chat.join("class-7", &["vip1"]).await.unwrap();
    stage.sees("class-7", "vip1", &[1001]).await;
    stage.patch_rule("vips", json!({"enabled": false})).await;
    stage.sees("class-7", "vip1", &[]).await;
    stage.rests().await;
    stage.delete_rule("vips").await;
    stage.rests().await;
    stage.put_rule("vips", "class-7", "vip*", &[1002]).await;
    stage.sees("class-7", "vip1", &[1002]).await;
    stage.close().await;
}

#[tokio::test]
async fn whoever_left_meanwhile_stays_without_marks_and_counts_for_nothing() {
    let stage = without_a_rule().await;
    stage
        .chat
        .leave("class-7", &["vip1", "vip2"])
        .await
        .unwrap();
    let figures = shared_figures(stage.pool()).await.unwrap();
    assert_eq!((figures.rooms_live, figures.delayed), (0, 0));
    stage.put_rule("vips", "class-7", "vip*", &[1002]).await;
    // Whether or not the filter still let their leaves through.
    let unmarked = "select bool_and(marks = '{}' and (presence = 'absent' or omissions > 0))
                    from members";
    wait_for_row(stage.pool(), unmarked).await;
    stage.close().await;
}

/// The sweep forgets them, though nobody listened for their leave.
#[tokio::test]
async fn after_an_hour_they_are_forgotten() {
    let stage = without_a_rule().await;
    for (passes, left) in [("update members set marks = marks", 2), (AN_HOUR_PASSES, 0)] {
        sqlx::query(passes).execute(stage.pool()).await.unwrap();
        compare(&stage).await;
        let rows: i64 = sqlx::query_scalar("select count(*) from members")
            .fetch_one(stage.pool())
            .await
            .unwrap();
        assert_eq!(rows, left);
    }
    stage.close().await;
}

#[tokio::test]
async fn where_no_sweep_runs_a_replica_forgets_them_by_itself() {
    let mut stage = without_a_rule().await;
    sqlx::query(AN_HOUR_PASSES)
        .execute(stage.pool())
        .await
        .unwrap();
    // It does so once a minute, and when it starts.
    stage.add_replica().await;
    wait_for_row(stage.pool(), "select count(*) = 0 from members").await;
    stage.close().await;
}

/// One sweep of the room, from its request to its end.
async fn compare(stage: &Stage) {
    let never_yet = "update rooms set swept_at = null";
    sqlx::query(never_yet).execute(stage.pool()).await.unwrap();
    let group = GroupId::parse("class-7").unwrap();
    resync::request(stage.pool(), &WakeUp::default(), &group)
        .await
        .unwrap();
    wait_for_row(stage.pool(), "select swept_at is not null from rooms").await;
}
