//! The files of the console as a browser receives them.

use std::collections::BTreeSet;

use reqwest::Method;

use crate::support::api::{api, send};

#[tokio::test]
async fn every_file_has_a_strict_policy_and_is_sent_again_only_after_a_change() {
    let api = api().await;
    let page = api.bare(Method::GET, "/").send().await.unwrap();
    let html = page.text().await.unwrap();
    // Relative, so that the page works below a prefix that a proxy adds.
    let mut paths: BTreeSet<String> = html
        .split(['"'])
        .filter(|part| part.starts_with("console/assets/"))
        .map(|part| format!("/{part}"))
        .collect();
    assert!(paths.contains("/console/assets/app.js"));
    paths.insert("/".to_owned());
    for path in &paths {
        let answer = api.bare(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split("; ").any(|one| one == part), "{path}: {part}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-cache");
        let known = api
            .bare(Method::GET, path)
            .header("if-none-match", header("etag"));
        let known = known.send().await.unwrap();
        assert_eq!(known.status(), 304, "{path}");
        assert!(known.bytes().await.unwrap().is_empty());
    }
    for wild in [
        "/console/assets/",
        "/console/assets/..%2f..%2fmod.rs",
        "/console/assets/index.html",
    ] {
        assert_eq!(
            send(api.bare(Method::GET, wild)).await.problem(),
            "not-found",
            "{wild}"
        );
    }
    assert_eq!(
        send(api.bare(Method::POST, "/")).await.problem(),
        "method-not-allowed"
    );
}
