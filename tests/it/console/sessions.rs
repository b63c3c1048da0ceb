//! Sessions of the console, which replace tokens, over real HTTP.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use stickymark::testing::config::Role;

use crate::support::api::{Answer, Api, EDITOR, VIEWER, api, api_with, rule, send, token};

/// A request as the pages of the console send it.
pub fn from_page(api: &Api, method: Method, path: &str) -> RequestBuilder {
    api.bare(method, path).header("x-stickymark-console", "1")
}

async fn sign_in(api: &Api, secret: &str) -> Answer {
    send(from_page(api, Method::POST, "/console/session").json(&json!({"token": secret}))).await
}

/// The cookie that a browser returns after signing in.
pub async fn cookie(api: &Api, secret: &str) -> String {
    let answer = sign_in(api, secret).await;
    assert_eq!(answer.status, 200);
    answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_session_reads_and_writes_under_the_name_of_its_token() {
    let api = api().await;
    let cookie = cookie(&api, EDITOR).await;
    let with_cookie = |method, path: &str| from_page(&api, method, path).header("cookie", &cookie);
    let who = send(with_cookie(Method::GET, "/console/session"))
        .await
        .body;
    assert_eq!(
        (&who["name"], &who["role"]),
        (&json!("eve"), &json!("editor"))
    );

    let put = with_cookie(Method::PUT, "/v1/rules/r").json(&rule("g", "a", &[1000]));
    assert_eq!(send(put).await.status, 201);
    assert_eq!(
        send(with_cookie(Method::GET, "/v1/rules/r")).await.body["group"],
        "g"
    );
    let history = api.get("/v1/rules/r/history").await.body;
    assert_eq!(history["items"][0]["actor"], "eve");
}

#[tokio::test]
async fn a_viewer_signs_in_and_cannot_write() {
    let api = api().await;
    let cookie = cookie(&api, VIEWER).await;
    let list = from_page(&api, Method::GET, "/v1/rules").header("cookie", &cookie);
    assert_eq!(send(list).await.status, 200);
    let body = rule("g", "a", &[1000]);
    let write = from_page(&api, Method::POST, "/v1/rules")
        .header("cookie", &cookie)
        .json(&body);
    let refused = send(write).await;
    assert_eq!(refused.refusal(), (403, "forbidden"));
}

#[tokio::test]
async fn a_session_writes_only_from_the_pages_of_the_console() {
    let api = api().await;
    let cookie = cookie(&api, EDITOR).await;
    let body = rule("g", "a", &[1000]);
    let write = |from: RequestBuilder| from.header("cookie", &cookie).json(&body);
    let foreign = [
        write(api.bare(Method::POST, "/v1/rules")),
        write(from_page(&api, Method::POST, "/v1/rules").header("sec-fetch-site", "cross-site")),
        write(from_page(&api, Method::POST, "/v1/rules").header("sec-fetch-site", "same-site")),
        write(from_page(&api, Method::POST, "/v1/rules").header("sec-fetch-site", "none")),
    ];
    for request in foreign {
        let refused = send(request).await;
        assert_eq!(refused.refusal(), (403, "foreign-origin"));
    }
    // A browser asks before a page of another origin sends the header of the console.
    let preflight = api
        .bare(Method::OPTIONS, "/v1/rules")
        .header("origin", "https://evil.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-stickymark-console");
    let preflight = send(preflight).await;
    assert!(!(200..300).contains(&preflight.status));
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    // A proxy that replaces Host does not hide the console from itself.
    let own = from_page(&api, Method::POST, "/v1/rules").header("origin", "https://out.example");
    assert_eq!(send(write(own)).await.status, 201);
    let elsewhere = api
        .bare(Method::POST, "/console/session")
        .json(&json!({"token": EDITOR}));
    assert_eq!(send(elsewhere).await.problem(), "foreign-origin");
}

#[tokio::test]
async fn cookies_that_the_service_did_not_sign_are_rejected() {
    let api = api().await;
    let given = cookie(&api, VIEWER).await;
    let (_, seal) = given.rsplit_once(':').unwrap();
    let later = "4000000000";
    for cookie in [
        "stickymark=".to_owned(),
        "stickymark=eve".to_owned(),
        format!("stickymark=eve:{later}:{seal}"),
        format!("stickymark=vic:{later}:{seal}"),
        format!("stickymark=nobody:{later}:{seal}"),
        given[..given.len() - 2].to_owned(),
        given.trim_end_matches(seal).to_owned(),
        "stickymark=vic:99999999999999999999:00".to_owned(),
        "stickymark=vic:4000000000:zz".to_owned(),
        format!("other={}", given.split_once('=').unwrap().1),
    ] {
        let answer =
            send(from_page(&api, Method::GET, "/v1/rules").header("cookie", &cookie)).await;
        assert_eq!(answer.refusal(), (401, "unauthorized"), "{cookie}");
    }
    // A browser sends all cookies of the host; the right one is found among them.
    let all = format!("a=b; stickymark=eve:1:00; {given}");
    let answer = send(from_page(&api, Method::GET, "/v1/rules").header("cookie", all)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_session_is_valid_at_every_replica_and_ends_with_its_token() {
    let [one, other] = [api().await, api().await];
    let cookie = cookie(&one, EDITOR).await;
    let at = |api: &Api| send(from_page(api, Method::GET, "/v1/rules").header("cookie", &cookie));
    assert_eq!(at(&other).await.status, 200);
    let renewed = api_with(&[token("eve", Role::Editor, "another-secret")]).await;
    assert_eq!(at(&renewed).await.status, 401);
}

#[tokio::test]
async fn a_wrong_secret_does_not_sign_in_and_guessing_is_slow() {
    let api = api().await;
    let cookie = cookie(&api, EDITOR).await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        let wrong = sign_in(&api, "wrong").await;
        assert_eq!(wrong.header("set-cookie"), "");
        answers.push(wrong.status);
    }
    assert!(
        answers[..10].iter().all(|status| *status == 401),
        "{answers:?}"
    );
    assert_eq!(answers[11], 429);
    let slowed = sign_in(&api, EDITOR).await;
    assert_eq!(slowed.refusal(), (429, "too-many-requests"));
    assert!(slowed.header("retry-after").parse::<u32>().is_ok());
    let bearer = send(api.bare(Method::GET, "/v1/rules").bearer_auth("wrong")).await;
    assert_eq!(bearer.problem(), "too-many-requests", "counted together");
    // Another client behind the same proxy, and a session that exists.
    let other = api.request(Method::GET, "/v1/rules");
    let other = send(other.header("x-forwarded-for", "198.51.100.7")).await;
    assert_eq!(other.status, 200);
    let session = from_page(&api, Method::GET, "/v1/rules").header("cookie", cookie);
    assert_eq!(send(session).await.status, 200);
}

#[tokio::test]
async fn a_guesser_of_the_same_address_locks_out_no_token_that_is_too_long_to_guess() {
    const LONG: &str = "0123456789abcdef0123456789abcdef";
    let api = api_with(&[
        token("eve", Role::Editor, LONG),
        token("vic", Role::Viewer, VIEWER),
    ])
    .await;
    let with = |secret: &str| send(api.bare(Method::GET, "/v1/rules").bearer_auth(secret));
    let wrong = "0123456789abcdef0123456789abcdeg";
    while with(wrong).await.status != 429 {}
    assert_eq!(with(VIEWER).await.status, 429, "short: it can be guessed");
    assert_eq!(with(LONG).await.status, 200);
    assert_eq!(sign_in(&api, LONG).await.status, 200);
    assert_eq!(
        with(wrong).await.status,
        429,
        "a right token resets nothing"
    );
}

#[tokio::test]
async fn the_page_reads_its_session_without_an_error_when_signed_out() {
    let api = api().await;
    let signed_out = send(api.bare(Method::GET, "/console/session")).await;
    assert_eq!(signed_out.status, 200);
    assert_eq!(
        (&signed_out.body["signed_in"], &signed_out.body["name"]),
        (&json!(false), &json!(null))
    );
    let open = api_with(&[]).await;
    let anybody = send(open.bare(Method::GET, "/console/session")).await.body;
    assert_eq!(anybody["signed_in"], true);
    assert_eq!(anybody["sign_in_needed"], false);
    assert_eq!(anybody["role"], "editor");
    let rebound = open
        .bare(Method::GET, "/console/session")
        .header("host", "evil.example");
    assert_eq!(send(rebound).await.problem(), "foreign-origin");
}

#[tokio::test]
async fn signing_out_deletes_the_cookie() {
    let api = api().await;
    let answer = send(from_page(&api, Method::DELETE, "/console/session")).await;
    assert_eq!(answer.status, 204);
    let cookies = answer.headers.get_all("set-cookie").iter();
    let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap()).collect();
    assert!(cookies[0].starts_with("stickymark=; Path=/; Max-Age=0;"));
    assert!(cookies[1].starts_with("__Host-stickymark=; Path=/; Max-Age=0;"));
    let foreign = send(api.bare(Method::DELETE, "/console/session")).await;
    assert_eq!(foreign.problem(), "foreign-origin");
}

#[tokio::test]
async fn the_page_says_whether_its_cookie_needs_tls() {
    let api = api().await;
    for (secure, begins) in [(true, "__Host-stickymark=eve:"), (false, "stickymark=eve:")] {
        let body = json!({"token": EDITOR, "secure": secure});
        let answer = send(from_page(&api, Method::POST, "/console/session").json(&body)).await;
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with(begins), "{cookie}");
        assert_eq!(cookie.ends_with("; Secure"), secure);
        assert!(cookie.contains("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
    }
}
