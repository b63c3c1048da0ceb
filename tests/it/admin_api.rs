//! What holds for every request of the admin listener: tokens, problems, probes, the document.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};
use stickymark::testing::api;

use crate::support::api::{Api, EDITOR, VIEWER, api, api_with, named, rule, send};

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_with_the_place() {
    let api = api().await;
    let send_as = async |content_type: Option<&str>, body: Vec<u8>| {
        let mut request = api.request(Method::POST, "/v1/rules").body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        send(request).await
    };
    let json_type = Some("application/json; charset=utf-8");
    let broken = send_as(json_type, b"{\"group\":\n oops}".to_vec()).await;
    assert_eq!(broken.refusal(), (400, "malformed-json"));
    assert!(
        broken.body["detail"]
            .as_str()
            .unwrap()
            .contains("line 2 column 2")
    );
    for body in [
        b"".to_vec(),
        b"\xff".to_vec(),
        vec![b'['; 100_000],
        b"{\"group\":1e999}".to_vec(),
    ] {
        assert_eq!(send_as(json_type, body).await.problem(), "malformed-json");
    }
    // What is wrong first is reported first.
    let deep = [b"{\"a\":".to_vec(), vec![b'['; 100_000]].concat();
    assert_eq!(send_as(json_type, deep).await.pointers(), ["/a"]);
    // Such a list could pass for an object whose fields are all absent.
    for path in [
        "/v1/erase",
        "/v1/members/retry",
        "/v1/rooms/resync",
        "/v1/rules",
    ] {
        let list = api.request(Method::POST, path).json(&json!([null, null]));
        let refused = send(list).await;
        assert_eq!(refused.refusal(), (422, "invalid-input"));
        assert_eq!(refused.pointers(), [""]);
    }
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
    ] {
        let answer = send_as(content_type, b"{}".to_vec()).await;
        assert_eq!(answer.refusal(), (415, "unsupported-media-type"));
    }
    let large = send_as(json_type, vec![b' '; 1024 * 1024 + 1]).await;
    assert_eq!(large.refusal(), (413, "body-too-large"));
}

#[tokio::test]
async fn wrong_paths_and_methods_are_problems_too() {
    let api = api().await;
    assert_eq!(
        api.get("/v1/rules/a%20b").await.problem(),
        "invalid-parameter"
    );
    assert_eq!(
        api.get("/v1/rules/%ff").await.problem(),
        "invalid-parameter"
    );
    for path in ["/v1/nothing", "/v1", "/nothing", "/v1/rules/r/history/x"] {
        let answer = api.get(path).await;
        assert_eq!(answer.refusal(), (404, "not-found"), "{path}");
    }
    let method = send(api.request(Method::DELETE, "/v1/rules")).await;
    assert_eq!(method.refusal(), (405, "method-not-allowed"));
    assert_eq!(method.header("allow"), "GET,HEAD,POST,PATCH");
    assert_eq!(
        send(api.bare(Method::POST, "/livez")).await.problem(),
        "method-not-allowed"
    );
}

#[tokio::test]
async fn no_request_passes_without_a_token_viewers_only_read_and_editors_may_do_all() {
    let api = api().await;
    api.post(named("r", "g", "a", &[1000])).await;
    let document = send(api.bare(Method::GET, "/openapi.json")).await.body;
    let paths = document["paths"].as_object().unwrap();
    let mut tried = 0;
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with("/v1")) {
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
        {
            let path = format!(
                "{}{}",
                path.replace("{id}", "r"),
                required_query(&item[method])
            );
            let method: Method = method.to_uppercase().parse().unwrap();
            for secret in [None, Some("wrong"), Some(""), Some("editor-secret2")] {
                let mut request = api.bare(method.clone(), &path).json(&json!({}));
                if let Some(secret) = secret {
                    // Of one client only a few are answered.
                    let client = format!("198.51.100.{tried}");
                    request = request
                        .bearer_auth(secret)
                        .header("x-forwarded-for", client);
                }
                let answer = send(request).await;
                assert_eq!(answer.refusal(), (401, "unauthorized"));
                assert!(answer.header("www-authenticate").starts_with("Bearer"));
            }
            let ask = async |secret| {
                // No write of this body goes through, so that there is something left to read.
                let request = api.bare(method.clone(), &path).json(&json!([]));
                send(request.bearer_auth(secret).header("if-match", "\"0\"")).await
            };
            let (viewer, editor) = (ask(VIEWER).await, ask(EDITOR).await);
            if method == Method::GET {
                // Only a process that writes a log of its own has a filter to show.
                let found = if path.starts_with("/v1/log") {
                    404
                } else {
                    200
                };
                assert_eq!((viewer.status, editor.status), (found, found), "{path}");
            } else {
                assert_eq!(viewer.refusal(), (403, "forbidden"));
                // A try while nothing is paused is the only write without a body.
                let passes = path.starts_with("/v1/chat/probe") && editor.status == 200;
                let refused = [412, 415, 422].contains(&editor.status);
                assert!(refused || passes, "{path} {}", editor.body);
            }
            tried += 1;
        }
    }
    assert_eq!(tried, 21);
    assert_eq!(send(api.bare(Method::GET, "/v1/nothing")).await.status, 401);
    assert_eq!(api.get("/v1/rules/r").await.body["version"], 1);
}

#[tokio::test]
async fn the_scheme_of_a_token_is_bearer_in_any_case() {
    let api = api().await;
    for (authorization, status) in [
        ("bearer viewer-secret", 200),
        ("Bearer viewer-secre", 401),
        ("Bearer", 401),
        ("Basic viewer-secret", 401),
        ("viewer-secret", 401),
    ] {
        let request = api.bare(Method::GET, "/v1/rules");
        let answer = send(request.header("authorization", authorization)).await;
        assert_eq!(answer.status, status, "{authorization}");
    }
}

/// The parameters without which an operation is refused.
fn required_query(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let required = parameters.filter(|one| one["in"] == "query" && one["required"] == json!(true));
    let pairs: Vec<_> = required
        .map(|one| format!("{}=x", one["name"].as_str().unwrap()))
        .collect();
    format!("?{}", pairs.join("&"))
}

#[tokio::test]
async fn without_tokens_this_machine_may_write_and_web_pages_may_not() {
    let api = api_with(&[]).await;
    let body = rule("g", "a", &[1000]);
    let post = || api.bare(Method::POST, "/v1/rules").json(&body);
    let foreign = send(post().header("host", "evil.example")).await;
    assert_eq!(foreign.refusal(), (403, "foreign-origin"));
    let reach = async |host: &str| {
        let named = api.bare(Method::GET, "/v1/rules").header("host", host);
        send(named).await
    };
    for host in [
        "localhost:8081",
        "127.0.0.1",
        "127.8.8.8:1",
        "[::1]:8081",
        "a.localhost",
        "LOCALHOST.",
    ] {
        assert_eq!(reach(host).await.status, 200, "{host}");
    }
    for host in [
        "localhost.evil.example",
        "localhost:1@evil.example",
        "10.0.0.1",
        "[::2]",
        "[",
    ] {
        let refused = reach(host).await.body;
        let said = format!("the header Host: {host} ");
        assert!(refused["detail"].as_str().unwrap().starts_with(&said));
    }
    // What the request line names counts for more than the header.
    let mut stream = TcpStream::connect(api.base.trim_start_matches("http://")).unwrap();
    let absolute =
        "GET http://evil.example/v1/rules HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = tokio::task::spawn_blocking(move || {
        stream.write_all(absolute.as_bytes()).unwrap();
        std::io::read_to_string(stream).unwrap()
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 403 "));
    // The console itself, and a person who types the address.
    for (name, value) in [
        ("origin", "http://LOCALHOST:8081"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
    ] {
        let own = api.bare(Method::GET, "/v1/rules").header(name, value);
        let own = send(own.header("host", "localhost:8081")).await;
        assert_eq!(own.status, 200, "{value}");
    }
    // Simple requests, which browsers send without asking; another port is another origin.
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:3000"),
        ("origin", "http://localhost"),
        ("origin", "null"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for request in [
            api.bare(Method::GET, "/v1/rules"),
            api.bare(Method::POST, "/v1/rules/import")
                .header("content-type", "text/plain"),
            api.bare(Method::POST, "/v1/members/retry"),
        ] {
            let refused = send(request.header(name, value)).await;
            assert_eq!(refused.status, 403);
            let detail = refused.body["detail"].as_str().unwrap();
            assert!(
                detail.to_lowercase().contains(&format!("{name}: {value} ")),
                "{detail}"
            );
        }
    }
    let made = send(post()).await;
    assert_eq!(made.status, 201);
    let history = format!("/v1/rules/{}/history", made.body["id"].as_str().unwrap());
    assert_eq!(
        send(api.bare(Method::GET, &history)).await.body["items"][0]["actor"],
        "anonymous"
    );
}

#[tokio::test]
async fn a_request_id_that_could_harm_a_log_is_not_taken_over() {
    let api = api().await;
    for wild in ["a b", "x\"y", &"x".repeat(129)] {
        let answer = send(
            api.request(Method::GET, "/v1/rules")
                .header("x-request-id", wild),
        )
        .await;
        assert!(uuid::Uuid::parse_str(answer.header("x-request-id")).is_ok());
    }
}

#[tokio::test]
async fn readiness_follows_the_database_and_the_drain_and_liveness_does_not() {
    let api = api().await;
    let ready = send(api.bare(Method::GET, "/readyz")).await;
    assert_eq!((ready.status, &ready.body["database"]), (200, &json!("ok")));
    api.readiness.drain();
    let draining = send(api.bare(Method::GET, "/readyz")).await;
    assert_eq!(
        (draining.status, &draining.body["draining"]),
        (503, &json!(true))
    );
    let draining = send(api.bare(Method::GET, "/readyz?exclude=database")).await;
    assert_eq!(draining.status, 503, "whatever is left out");
    api.db().close().await;
    assert_eq!(send(api.bare(Method::GET, "/livez")).await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_away_is_a_503_that_says_when_to_come_back() {
    let api = api().await;
    api.db().close().await;
    let ready = send(api.bare(Method::GET, "/readyz")).await;
    assert_eq!(
        (ready.status, &ready.body["database"]),
        (503, &json!("unreachable"))
    );
    let excluded = "/readyz?exclude=database";
    let serving = send(api.bare(Method::GET, excluded)).await;
    assert_eq!(
        (serving.status, &serving.body["database"]),
        (200, &json!(null))
    );
    let unknown = send(api.bare(Method::GET, "/readyz?exclude=etcd")).await;
    assert_eq!(unknown.refusal(), (400, "invalid-parameter"));
    for answer in [
        api.get("/v1/rules").await,
        api.get("/v1/rules/r").await,
        api.put("r", rule("g", "a", &[1000])).await,
    ] {
        assert_eq!(answer.refusal(), (503, "database-unavailable"));
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
    }
}

#[tokio::test]
async fn the_document_describes_every_route_and_problem() {
    let api = api().await;
    let document = send(api.bare(Method::GET, "/openapi.json")).await.body;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, serde_json::to_value(api::openapi()).unwrap());
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/livez",
            "/metrics",
            "/readyz",
            "/v1/chat/probe",
            "/v1/erase",
            "/v1/explain",
            "/v1/log",
            "/v1/marks",
            "/v1/members",
            "/v1/members/retry",
            "/v1/rooms",
            "/v1/rooms/resync",
            "/v1/rules",
            "/v1/rules/export",
            "/v1/rules/import",
            "/v1/rules/{id}",
            "/v1/rules/{id}/history",
            "/v1/status",
        ]
    );
    let types = document["components"]["schemas"]["ProblemType"]["enum"]
        .as_array()
        .unwrap();
    assert!(types.contains(&json!("urn:stickymark:problem:mark-limit-exceeded")));
    assert_eq!(types.len(), 17);
    assert_every_reference_resolves(&document, &document);
    let operations = document["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = operations
        .flat_map(|item| item.as_object().unwrap().values())
        .collect();
    for operation in &operations {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        let (summary, description) = (text("summary"), text("description"));
        assert!(
            (1..60).contains(&summary.len()) && !description.is_empty(),
            "{}: {summary:?}, {description:?}",
            operation["operationId"]
        );
    }
    let names: Vec<&str> = operations
        .iter()
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(
        names.len(),
        names.iter().collect::<BTreeSet<_>>().len(),
        "names that clients are made of are distinct: {names:?}"
    );
    assert!(names.contains(&"listRules") && names.contains(&"createRule"));
}

#[tokio::test]
async fn the_page_of_the_document_needs_nothing_from_outside() {
    let api = api().await;
    let moved = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let moved = moved
        .get(format!("{}/docs", api.base))
        .send()
        .await
        .unwrap();
    assert_eq!(moved.status(), 307);
    assert_eq!(moved.headers()["location"], "docs/");

    let page = read_page(&api, "").await;
    assert!(page.contains("swagger-ui-bundle.js"));
    assert!(!page.contains("<style") && !page.contains("://"), "{page}");
    let inline = page.match_indices("<script").all(|(at, _)| {
        let tag = &page[at..at + page[at..].find('>').unwrap()];
        tag.contains(" src=")
    });
    assert!(inline, "the policy lets no script in the page run: {page}");
    let start = read_page(&api, "swagger-initializer.js").await;
    assert!(start.contains("../openapi.json") && start.contains("\"validatorUrl\": \"none\""));

    let mut loaded = 0;
    for attribute in [" src=\"", " href=\""] {
        for (at, _) in page.match_indices(attribute) {
            let name = &page[at + attribute.len()..];
            let name = name[..name.find('"').unwrap()].trim_start_matches("./");
            read_page(&api, name).await;
            loaded += 1;
        }
    }
    assert!(loaded >= 6, "{page}");
    for absent in [
        "swagger-ui-es-bundle.js",
        "oauth2-redirect.html",
        "..%2fv1",
        "x",
    ] {
        let answer = api.get(&format!("/docs/{absent}")).await;
        assert_eq!(answer.refusal(), (404, "not-found"), "{absent}");
    }
}

/// A file of the page, unpacked; it is guarded, and not sent again to a client that has it.
async fn read_page(api: &Api, name: &str) -> String {
    let ask = || api.bare(Method::GET, &format!("/docs/{name}"));
    let answer = ask().send().await.unwrap();
    assert_eq!(answer.status(), 200, "{name}");
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    assert!(!policy.contains("http") && !policy.contains("unsafe-eval"));
    let etag = answer.headers()["etag"].clone();
    let body = answer.bytes().await.unwrap();
    assert!(!body.is_empty());
    let again = ask().header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), 304, "{name}");
    String::from_utf8_lossy(&body).into_owned()
}

fn assert_every_reference_resolves(document: &Value, part: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            map.values()
                .for_each(|inner| assert_every_reference_resolves(document, inner));
        }
        Value::Array(items) => {
            items
                .iter()
                .for_each(|inner| assert_every_reference_resolves(document, inner));
        }
        _ => {}
    }
}
