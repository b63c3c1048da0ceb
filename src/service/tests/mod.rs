//! What is decided before the service runs.

mod listening;

use super::*;

async fn build(listen: &str, forward_url: &str) -> Result<Service, StartError> {
    let environment = [
        ("STICKYMARK__CHAT__SDK_APP_ID", "1400000000"),
        ("STICKYMARK__CHAT__SECRET_KEY", "key"),
        ("STICKYMARK__CALLBACK__LISTEN", listen),
        ("STICKYMARK__ADMIN__LISTEN", "127.0.0.1:0"),
        ("STICKYMARK__CALLBACK__FORWARD_URL", forward_url),
    ];
    let settings = Settings::load(None, environment).unwrap();
    // Nothing is asked of the database before the service runs.
    let db = Db::new_lazy("postgres://127.0.0.1:1/none".parse().unwrap(), 1);
    Service::build(&settings, db).await
}

#[tokio::test]
async fn a_task_that_dies_ends_the_service_and_liveness_fails_before() {
    for (name, part) in [
        ("panics", async { panic!("by order of the test") }.boxed()),
        ("returns", async {}.boxed()),
    ] {
        let mut service = build("127.0.0.1:0", "").await.unwrap();
        service.working.1.push((name, part));
        let url = format!("http://{}/livez", service.admin_address());
        let running = tokio::spawn(service.run(std::future::pending()));
        // The listener answers for some seconds after the task died.
        while reqwest::get(&url).await.unwrap().status() != 503 {}
        assert_eq!(running.await.unwrap(), Err(PartEnded(name)));
    }
}
