//! A call that Chat refuses because of a member in it, or because no member is there.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_member_among_five_hundred_is_found_in_few_calls_and_the_others_are_served() {
    for (code, at_once) in [(10004, false), (10019, false), (70107, true), (70402, true)] {
        let scene = room_of(&users(500)).await;
        let fault = Fault::new(Effect::ErrorCode(code)).account("user137");
        let fault = scene
            .chat()
            .inject(&fault.api(Api::ModifyUserInfo))
            .await
            .unwrap();
        let worker = scene.worker(&scene.breaker());
        while worker.step().await.unwrap() {}
        let calls = scene.chat().calls().await.unwrap().len();
        assert!(calls <= 2 + 20, "{code}: {calls} calls");
        assert_eq!(marked(&scene).await, 499, "{code}");
        if !at_once {
            assert_eq!(
                failed(&scene).await,
                [],
                "{code}: Chat may see the member yet"
            );
            let worn = "with changed as (update members set due_at = now(), tries = 11 where due_at is not null) update rooms set due_at = now()";
            sqlx::query(worn).execute(scene.db()).await.unwrap();
            while worker.step().await.unwrap() {}
        }
        let failed = failed(&scene).await;
        assert_eq!(
            (failed.len(), failed[0].0.as_str()),
            (1, "user137"),
            "{code}"
        );
        assert!(failed[0].1.contains(&code.to_string()), "{}", failed[0].1);
        scene.chat().clear(fault).await.unwrap();
        let (group, account) = (
            GroupId::parse(ROOM).unwrap(),
            Account::parse("user137").unwrap(),
        );
        let elsewhere = GroupId::parse("class-8").unwrap();
        let request = RequestId::generate();
        let retried = retry_failed(scene.db(), Some(&elsewhere), None, &request).await;
        assert_eq!(retried.unwrap(), 0);
        let retried = retry_failed(scene.db(), Some(&group), Some(&account), &request).await;
        assert_eq!(retried.unwrap(), 1);
        work(&scene).await;
        assert_eq!(marked(&scene).await, 500, "{code}");
    }
}

/// Chat's parts do not learn at once who came: it lists them, marks the others, and refuses them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_chat_does_not_see_yet_is_marked_a_moment_later() {
    let scene = room_of(&users(2)).await;
    let unseen = Fault::new(Effect::ErrorCode(10004)).account("user1");
    // Refused beside the other, alone in the search, and once more after that.
    let unseen = unseen.api(Api::ModifyUserInfo).times(3);
    scene.chat().inject(&unseen).await.unwrap();
    let stop = CancellationToken::new();
    let worker = tokio::spawn(scene.worker(&scene.breaker()).run(stop.clone()));
    let reason = "select last_error like '%10004%' and failed_at is null from members
                  where account = 'user1'";
    scene.wait_for_row(reason).await;
    scene.wait_for_marks(ROOM, "user1", &[1000]).await;
    stop.cancel();
    worker.await.unwrap();
}

/// As in an app that may not ask who is in a room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_member_is_found_although_chat_never_says_who_is_there() {
    let scene = room_of(&users(100)).await;
    let breaker = scene.breaker();
    // As after a call for another room.
    breaker.succeeded();
    let faults = [
        Fault::new(Effect::ErrorCode(10019))
            .account("user7")
            .api(Api::ModifyUserInfo),
        Fault::new(Effect::ErrorCode(10007)).api(Api::CheckMembers),
    ];
    for fault in &faults {
        scene.chat().inject(fault).await.unwrap();
    }
    assert!(scene.worker(&breaker).step().await.unwrap());
    assert_eq!(marked(&scene).await, 99);
    assert_eq!(breaker.paused(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rejected_members_never_cost_the_others_their_marks() {
    let scene = room_of(&users(300)).await;
    for account in ["user7", "user250"] {
        let fault = Fault::new(Effect::ErrorCode(10019)).account(account);
        scene
            .chat()
            .inject(&fault.api(Api::ModifyUserInfo))
            .await
            .unwrap();
    }
    let stop = CancellationToken::new();
    let worker = tokio::spawn(scene.worker(&scene.breaker()).run(stop.clone()));
    scene
        .wait_for_row("select count(*) = 2 from members where last_error like '%10019%'")
        .await;
    let all_others = |marks: &std::collections::BTreeMap<String, _>| {
        marks
            .values()
            .filter(|marks: &&std::collections::BTreeSet<u32>| !marks.is_empty())
            .count()
            == 298
    };
    scene
        .chat()
        .wait_until(ROOM, PATIENCE, all_others)
        .await
        .unwrap();
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_all_members_blames_none_of_them() {
    let scene = room_of(&users(500)).await;
    let fault = Fault::new(Effect::ErrorCode(10004)).api(Api::ModifyUserInfo);
    scene.chat().inject(&fault).await.unwrap();
    scene.worker(&scene.breaker()).step().await.unwrap();
    let calls = scene.chat().calls().await.unwrap().len();
    assert!(calls <= 2 + 20, "{calls} calls");
    assert_eq!(failed(&scene).await, []);
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from members where due_at > now() and tries = 1")
            .fetch_one(scene.db())
            .await
            .unwrap();
    assert_eq!(waiting, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_members_who_left_unseen_cost_two_calls() {
    for code in [10004, 10007, 10019, 10030] {
        let scene = room_of(&["somebody-else".to_owned()]).await;
        work(&scene).await;
        let all_offline_code = code;
        let settings = Settings {
            all_offline_code,
            ..Settings::default()
        };
        scene.chat().configure(&settings).await.unwrap();
        let before = scene.chat().calls().await.unwrap().len();
        scene.arrive(ROOM, &users(500)).await;
        work(&scene).await;
        assert_eq!(
            scene.chat().calls().await.unwrap().len() - before,
            2,
            "{code}"
        );
        let omitted: i64 = sqlx::query_scalar(
            "select count(*) from members where tries = 1 and due_at > now() and last_error like '%left the member out%'",
        )
        .fetch_one(scene.db())
        .await
        .unwrap();
        assert_eq!(omitted, 500, "{code}");
    }
}
