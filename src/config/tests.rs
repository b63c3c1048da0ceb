use std::io::Write;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use super::load::documented;
use super::*;

const NOTHING: [(&str, &str); 0] = [];

/// Variables as `SECTION__KEY=value`.
fn set(variables: &[&str]) -> Result<Settings, ConfigError> {
    let pair = |variable: &&str| {
        let (name, value) = variable.split_once('=').unwrap();
        (format!("STICKYMARK__{name}"), value.to_owned())
    };
    Settings::load(None, variables.iter().map(pair))
}

fn file(text: &str) -> (tempfile::NamedTempFile, PathBuf) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_path_buf();
    (file, path)
}

fn from_file(text: &str) -> Result<Settings, ConfigError> {
    let (_file, path) = file(text);
    Settings::load(Some(&path), NOTHING)
}

/// The problems of settings that must be refused.
fn problems(result: Result<Settings, ConfigError>) -> Vec<String> {
    match result {
        Err(ConfigError(problems)) => problems,
        other => panic!("expected problems, got {other:?}"),
    }
}

/// The one problem of one variable.
fn problem(variable: &str) -> String {
    let mut problems = problems(set(&[variable]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

/// What people are shown of the settings, a line for each section.
fn shown(settings: &Settings) -> String {
    let line = |(section, keys)| format!("{section} {keys}\n");
    settings.described.iter().map(line).collect()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let settings = Settings::load(None, NOTHING).unwrap();
    assert_eq!(shown(&settings), DEFAULTS_SHOWN.trim_start());
    assert_eq!(settings.callback.path.as_str(), "/callback");
}

const DEFAULTS_SHOWN: &str = "
admin listen=127.0.0.1:8081 tokens=[]
callback listen=[::]:8080 path=(set) tokens=(0 set) max_age=60s forward_url=(not set) forward_failure=auto
chat sdk_app_id=(not set) secret_key=(not set) admin_account=administrator region=china \
base_url=(not set) calls_per_second=160 request_timeout=5s
database url=(not set) path=./stickymark-data max_connections=16
log format=text filter=info
marks names=(0 set)
reapply settle=30ms max_wait=250ms lease=15s
resync interval=5m
retention members=7d history=400d
telemetry otlp_endpoint=(not set)
";

#[test]
fn the_default_file_documents_every_key() {
    // serde names what it knows when it meets what it does not know.
    let known = |given: &str| -> Vec<String> {
        let problem = problems(from_file(given)).remove(0);
        let names = problem.split('`').skip(3).step_by(2);
        names.map(str::to_owned).collect()
    };
    let mut keys = Vec::new();
    for section in known("unknown.key = 1") {
        let named = known(&format!("{section}.unknown = 1"));
        keys.extend(named.into_iter().map(|key| format!("{section}.{key}")));
    }
    keys.sort();
    let documented = documented().map(|(section, key)| format!("{section}.{key}"));
    let mut documented: Vec<String> = documented.collect();
    documented.sort();
    assert_eq!(documented, keys);
}

#[test]
fn later_layers_win_and_lists_and_tables_have_forms_of_their_own() {
    for (text, variable, says) in [
        (
            "[chat]\nregion = \"tokyo\"\ncalls_per_second = 20",
            "CHAT__REGION=silicon-valley",
            "administrator region=silicon-valley base_url=(not set) calls_per_second=20",
        ),
        (
            "chat.base_url = \"http://x\"",
            "CHAT__BASE_URL=",
            "base_url=(not set)",
        ),
        ("callback.tokens = [\"one,comma\"]", "", "tokens=(1 set)"),
        (
            "[admin]\ntokens = [{ name = \"ci\", role = \"editor\", secret = 12345678 }, \"eyes:viewer:8:7\"]",
            "",
            "tokens=[\"ci (editor)\", \"eyes (viewer)\"]",
        ),
        (
            "[marks]\nnames = { 1000 = \"teacher\" }\n[log]\nformat = \"json\"",
            "",
            "names=(1 set)",
        ),
        (
            "[marks.names]\n1000 = \"teacher\"\n500 = \"always online\"",
            "",
            "names=(2 set)",
        ),
    ] {
        let (_file, path) = file(text);
        let variable = variable.split_once('=');
        let variable = variable.map(|(name, value)| (format!("STICKYMARK__{name}"), value));
        let environment = variable.into_iter().chain([("HOME".to_owned(), "/root")]);
        let settings = Settings::load(Some(&path), environment).unwrap();
        assert!(shown(&settings).contains(says), "{text}: {settings:?}");
    }
}

#[test]
fn every_key_can_be_set_in_the_environment_and_no_secret_shows_up() {
    let settings = set(&[
        "CHAT__SDK_APP_ID=1400000000",
        "CHAT__SECRET_KEY=hidden-key",
        "CHAT__ADMIN_ACCOUNT=robot",
        "CHAT__REGION=tokyo",
        "CHAT__BASE_URL=http://127.0.0.1:9100",
        "CHAT__CALLS_PER_SECOND=200",
        "CHAT__REQUEST_TIMEOUT=700ms",
        "CALLBACK__LISTEN=[::]:80",
        "CALLBACK__PATH=/im/hidden-path",
        "CALLBACK__TOKENS=hidden-old, hidden-new",
        "CALLBACK__MAX_AGE=2m",
        "CALLBACK__FORWARD_URL=https://backend.example/hidden",
        "CALLBACK__FORWARD_FAILURE=fail",
        "ADMIN__LISTEN=0.0.0.0:81",
        "ADMIN__TOKENS=ci:editor:a:hidden:b,eyes:viewer:hidden",
        "DATABASE__URL=postgres://u:hidden@db/marks",
        "DATABASE__PATH=/srv/marks",
        "DATABASE__MAX_CONNECTIONS=4",
        "REAPPLY__SETTLE=0s",
        "REAPPLY__MAX_WAIT=1s",
        "REAPPLY__LEASE=1m",
        "RESYNC__INTERVAL=0s",
        "MARKS__NAMES=1000=teacher, 600 = hidden guest,",
        "LOG__FORMAT=json",
        "LOG__FILTER=warn,stickymark=debug",
        "RETENTION__MEMBERS=2d",
        "RETENTION__HISTORY=0s",
        "TELEMETRY__OTLP_ENDPOINT=https://collector.example/hidden",
    ])
    .unwrap();
    assert_eq!(shown(&settings), EVERY_KEY_SHOWN.trim_start());
    assert!(!format!("{settings:?} {settings:#?}").contains("hidden"));
    assert_eq!(settings.callback.path.as_str(), "/im/hidden-path");
    let tokens = settings
        .callback
        .tokens
        .iter()
        .map(|token| token.expose_secret());
    assert_eq!(tokens.collect::<Vec<_>>(), ["hidden-old", "hidden-new"]);
    let ci = &settings.admin.tokens[0];
    assert_eq!(ci.secret.expose_secret(), "a:hidden:b");
    let names = settings
        .marks
        .names
        .iter()
        .map(|(mark, name)| format!("{mark} {name}"));
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["600 hidden guest", "1000 teacher"]
    );
    assert_eq!(settings.database.url.unwrap().options.get_host(), "db");
}

const EVERY_KEY_SHOWN: &str = "
admin listen=0.0.0.0:81 tokens=[\"ci (editor)\", \"eyes (viewer)\"]
callback listen=[::]:80 path=(set) tokens=(2 set) max_age=2m forward_url=https://backend.example/… \
forward_failure=fail
chat sdk_app_id=1400000000 secret_key=(set) admin_account=robot region=tokyo \
base_url=http://127.0.0.1:9100 calls_per_second=200 request_timeout=700ms
database url=(set) path=/srv/marks max_connections=4
log format=json filter=warn,stickymark=debug
marks names=(2 set)
reapply settle=0s max_wait=1s lease=1m
resync interval=0s
retention members=2d history=0s
telemetry otlp_endpoint=https://collector.example/…
";

#[test]
fn secrets_can_stand_in_files_of_their_own() {
    let (_key, key) = file("\u{feff}5bd2850f\r\n");
    let (_tokens, tokens) = file("\u{feff}old\r\nnew\n");
    let (_admin, admin) = file("ci:editor:12345678,eyes:viewer:87654321");
    let (_url, url) = file("\u{feff}postgres://u:p@db/marks");
    let files = [
        ("CHAT", "secret_key", key),
        ("CALLBACK", "tokens", tokens),
        ("ADMIN", "tokens", admin),
        ("DATABASE", "url", url),
    ];
    let line = |(section, key, path): &(&str, &str, PathBuf)| {
        format!("[{}]\r\n{key}_file = {path:?}\r\n", section.to_lowercase())
    };
    let variable = |(section, key, path): &(&str, &str, PathBuf)| {
        let name = format!("STICKYMARK__{section}__{}_FILE", key.to_uppercase());
        (name, path.to_str().unwrap().to_owned())
    };
    let in_file = from_file(&format!(
        "\u{feff}{}",
        files.iter().map(line).collect::<String>()
    ));
    let in_environment = Settings::load(None, files.iter().map(variable));
    for settings in [in_file.unwrap(), in_environment.unwrap()] {
        assert_eq!(
            settings.chat.secret_key.unwrap().expose_secret(),
            "5bd2850f"
        );
        let tokens = settings
            .callback
            .tokens
            .iter()
            .map(|token| token.expose_secret());
        assert_eq!(tokens.collect::<Vec<_>>(), ["old", "new"]);
        assert_eq!(settings.admin.tokens.len(), 2);
        assert_eq!(settings.database.url.unwrap().options.get_host(), "db");
    }
}

#[test]
fn of_a_secret_given_in_two_layers_the_later_wins_in_whatever_form() {
    let key_of = |path, environment: [(&str, &str); 1]| {
        let settings = Settings::load(Some(path), environment).unwrap();
        let key = settings.chat.secret_key.unwrap();
        key.expose_secret().to_owned()
    };
    let (_later, later) = file("later");
    let (_settings, path) = file("[chat]\nsecret_key = \"earlier\"");
    let in_a_file = [("STICKYMARK__CHAT__SECRET_KEY_FILE", later.to_str().unwrap())];
    assert_eq!(key_of(&path, in_a_file), "later");
    let (_settings, path) = file("[chat]\nsecret_key_file = \"/no/such/file\"");
    let plain = [("STICKYMARK__CHAT__SECRET_KEY", "later")];
    assert_eq!(key_of(&path, plain), "later");
}

#[test]
fn variables_that_nothing_reads_are_named_in_a_warning_without_their_values() {
    let environment = [
        ("stickymark__chat__region", "geheim"),
        ("STICKYMARK_CALLBACK_TOKENS", "geheim"),
        ("STICKYMARK_CHAT__REGION", "geheim"),
        // Kubernetes sets such for a Service of this name; the others belong to other programs.
        ("STICKYMARK_SERVICE_HOST", "10.0.0.1"),
        ("STICKYMARK_SERVICE_PORT_HTTP", "8080"),
        ("STICKYMARK_PORT", "tcp://10.0.0.1:8080"),
        ("STICKYMARK_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("STICKYMARKS", ""),
        ("PATH", "/bin"),
    ];
    let warnings = Settings::load(None, environment).unwrap().warnings();
    let unread = warnings.iter().filter(|one| one.contains("nothing reads"));
    let unread: Vec<_> = unread.filter_map(|one| one.split('"').nth(1)).collect();
    assert_eq!(
        unread,
        [
            "STICKYMARK_CALLBACK_TOKENS",
            "STICKYMARK_CHAT__REGION",
            "stickymark__chat__region"
        ]
    );
    assert!(!warnings.concat().contains("geheim"));
}

#[test]
fn a_secret_that_is_given_but_empty_is_refused() {
    for secret in [
        "CHAT__SECRET_KEY",
        "CALLBACK__TOKENS",
        "ADMIN__TOKENS",
        "DATABASE__URL",
    ] {
        for content in ["", "\n", "\r\n\r\n", "\u{feff}", "\u{feff}\n"] {
            let (_file, path) = file(content);
            let variable = format!("{secret}_FILE");
            let problem = problem(&format!("{variable}={}", path.to_str().unwrap()));
            let says = "is empty; give a value or remove the key";
            assert!(
                problem.ends_with(says) && problem.contains(&variable),
                "{problem}"
            );
        }
        for blank in ["", " ", "\n"] {
            problem(&format!("{secret}={blank}"));
        }
    }
    // Nothing is given by the list of the default file.
    from_file("[callback]\ntokens = []\n[admin]\ntokens = []").unwrap();
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_reason() {
    for case in REFUSED.trim().lines() {
        let (given, complaint) = case.trim_start().split_once(" | ").unwrap();
        let refused = match given.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            true => set(&given.split("; ").collect::<Vec<_>>()),
            false => from_file(given),
        };
        let problems = problems(refused);
        let [problem] = &problems[..] else {
            panic!("{given}: {problems:?}")
        };
        assert!(problem.contains(complaint), "{given}: {problem}");
        let secret = ["hid", "4821"].iter().any(|part| problem.contains(part));
        assert!(!secret, "{given}: {problem}");
    }
    for apart in ["127.0.0.1:0", "127.0.0.2:80"] {
        let callback = apart.replace("0.2", "0.1");
        set(&[
            &format!("CALLBACK__LISTEN={callback}"),
            &format!("ADMIN__LISTEN={apart}"),
        ])
        .unwrap();
    }
    let region = problem("CHAT__REGION=moon\nbase");
    assert!(region.contains("unknown variant `moon\\nbase`"), "{region}");
}

/// Variables or a file, and what is said of them.
const REFUSED: &str = r#"
    chat.secret_kee = 1 | unknown field `secret_kee`, expected
    chats.region = 1 | unknown field `chats`, expected one of `chat`, `callback`
    region = 1 | unknown key; each key belongs to a section: chat, callback, admin, database
    chat.x.y = 1 | unknown field `x`
    marks.names = { 7 = "x" } | from 1000 to
    marks.names = { 1000 = 7 } | as text
    marks.names = { 1000 = " " } | is empty
    marks.names = "teacher" | like 1000=teacher
    database = "postgres://u:hidden@db/marks" | each key belongs to a section
    database.url = ["hidden"] | give one value
    chat.secret_key = { text = "hidden" } | give one value
    chat.secret_key = 4821.5 | text in quotes
    callback.tokens = { one = "hidden" } | give a list
    callback.tokens = [["hidden"]] | give one value
    callback.tokens = 4821.5 | give a list
    admin.tokens = [{ name = "ci", role = "editor", secret = ["hidden"] }] | not empty
    admin.tokens = [{ name = "ci", roll = "editor", secret = "hidden" }] | name:role:secret
    chat = { secret_key = "hidden", secret_key_file = "/x" } | also given as chat.secret_key_file (in
    CALLBACK__TOKENS=hidden; CALLBACK__TOKENS_FILE=/x | callback.tokens (STICKYMARK__CALLBACK__TOKENS): also given as
    CALLBACK__LISTEN=127.0.0.1:80; ADMIN__LISTEN=127.0.0.1:80 | collides
    CALLBACK__LISTEN=0.0.0.0:80; ADMIN__LISTEN=127.0.0.1:80 | collides
    CALLBACK__LISTEN=127.0.0.1:80; ADMIN__LISTEN=[::]:80 | collides
    CHAT__SECRET_KEE=x | chat.secret_kee (STICKYMARK__CHAT__SECRET_KEE): unknown field `secret_kee`, expected
    CHATS__REGION=china | expected one of `chat`, `callback`
    REGION=china | a section: chat, callback, admin, database
    CHAT__REGION=moon | chat.region (STICKYMARK__CHAT__REGION): unknown variant `moon`, expected one of `china`
    DATABASE__URL_FILE=/no/such/file | database.url (STICKYMARK__DATABASE__URL_FILE): cannot read "/no/such/file"
    CHAT__SECRET_KEY_FILE=/dev/zero | is it the right file?
    CHAT__SDK_APP_ID=0 | not an SDKAppID
    CHAT__SDK_APP_ID=app | not an SDKAppID
    CHAT__SECRET_KEY= | is empty
    CHAT__SECRET_KEY=hid den | a space or a line break
    CHAT__ADMIN_ACCOUNT= | must not be empty
    CHAT__BASE_URL=ftp://x | must begin with http
    CHAT__BASE_URL=http://x/?a=b | no query
    CHAT__BASE_URL=http://u:p@x/ | no user
    CHAT__BASE_URL=x | not a URL
    CHAT__CALLS_PER_SECOND=201 | chat.calls_per_second (STICKYMARK__CHAT__CALLS_PER_SECOND): 201 is out of range; give 1 to 200
    CHAT__REQUEST_TIMEOUT=5 | not a duration
    CHAT__REQUEST_TIMEOUT=1ms | 1ms is out of range; give 100ms to 1m
    CALLBACK__LISTEN=8080 | IP and port
    CALLBACK__PATH=callback | must begin with /
    CALLBACK__PATH=/call back | ' ' must not be in it
    CALLBACK__PATH=/a?b | '?' must not be in it
    CALLBACK__PATH=/{x} | '{' must not be in it
    CALLBACK__PATH=/a//b | segment is empty
    CALLBACK__PATH=/a/.. | empty or dots
    CALLBACK__TOKENS=fine,hid den | a space or a line break
    CALLBACK__TOKENS=a,,b | tokens[1] (STICKYMARK__CALLBACK__TOKENS): is empty
    CALLBACK__MAX_AGE=0s | out of range
    CALLBACK__FORWARD_URL=https://x/hidden?hidden#hidden | no fragment
    CALLBACK__FORWARD_URL=https://u:hidden@x/hidden | no user
    CALLBACK__FORWARD_FAILURE=retry | expected one of `auto`, `ok`, `fail`
    CALLBACK__FORWARD_FAILURE= | expected one of `auto`, `ok`, `fail`
    ADMIN__LISTEN=localhost:1 | IP and port
    ADMIN__TOKENS=hidden | three parts
    ADMIN__TOKENS=hid den:editor:hidden | the name must be
    ADMIN__TOKENS=ci:owner:12345678 | viewer or editor
    ADMIN__TOKENS=ci:editor: | not empty
    ADMIN__TOKENS=ci:editor:hid den | printable ASCII
    ADMIN__TOKENS=a:editor:12345678,a:viewer:87654321 | duplicate name
    ADMIN__TOKENS=a:editor:12345678,b:viewer:12345678 | secret of another
    DATABASE__URL= | is empty
    DATABASE__URL=hidden | does not begin with postgres://
    DATABASE__URL=postgres://u:hidden@:port/x | is not a PostgreSQL URL
    DATABASE__URL=postgres://u:hidden@::1:5433/db | is not a PostgreSQL URL
    DATABASE__URL=postgres://u:hid,den@a:5432,b:5432/db | names several hosts
    DATABASE__URL=postgres://u:hidden@a,b/db?target_session_attrs=read-write | names several hosts
    DATABASE__URL=postgres:///db?host=a,b | names several hosts
    DATABASE__URL=postgres://h/db?password=hidden | has a parameter password
    DATABASE__URL=postgres://h/db?password=hid&den=4821 | has a parameter password
    DATABASE__URL=postgres://h/db?password=hid&hidden | a parameter that is not name=value
    DATABASE__URL=postgres://h/db?password=hid#hidden | must be percent-encoded
    DATABASE__PATH= | must name a directory
    DATABASE__MAX_CONNECTIONS=1 | 2 to 1000
    REAPPLY__SETTLE=-1s | not a duration
    REAPPLY__SETTLE=251ms | longer than reapply.max_wait
    REAPPLY__MAX_WAIT=11s | out of range
    REAPPLY__LEASE=5s | not longer than chat.request_timeout
    RESYNC__INTERVAL=10ms | 10ms is out of range; give 1s to 1day, or 0s to turn it off
    RETENTION__HISTORY=1h | or 0s to turn it off
    LOG__FILTER=a=b=c | not a filter
"#;

#[test]
fn a_file_that_is_missing_or_no_toml_is_named_without_its_content() {
    let error = Settings::load(Some("/no/such.toml".as_ref()), NOTHING).unwrap_err();
    assert!(error.to_string().contains("\"/no/such.toml\""), "{error}");
    let error = from_file("[chat]\nsecret_key = hidden\n").unwrap_err();
    assert!(error.to_string().contains("is not TOML"), "{error}");
    let error = format!("{error} {error:?}");
    assert!(
        error.contains("line 2") && !error.contains("hidden"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn variables_that_are_no_text_are_named() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let bad = || OsString::from_vec(vec![0xff]);
    let strange = (bad(), bad());
    let ours = (OsString::from("STICKYMARK__CHAT__REGION"), bad());
    assert!(Settings::load(None, [strange.clone()]).is_ok());
    let problems = problems(Settings::load(None, [strange, ours]));
    assert_eq!(
        problems,
        ["STICKYMARK__CHAT__REGION: the value is not UTF-8 text"]
    );
}

#[test]
fn serve_needs_an_application_and_a_closed_admin_listener() {
    let open = set(&["ADMIN__LISTEN=0.0.0.0:8081"]).unwrap();
    let error = open.validate_for_serve().unwrap_err().to_string();
    assert_eq!(error.lines().count(), 3, "{error}");
    for key in ["chat.sdk_app_id:", "chat.secret_key:", "admin.tokens:"] {
        assert!(error.contains(key), "{error}");
    }
    let application = ["CHAT__SDK_APP_ID=14", "CHAT__SECRET_KEY=key"];
    for listener in [
        vec![],
        vec!["ADMIN__LISTEN=[::ffff:127.0.0.1]:8081"],
        vec![
            "ADMIN__LISTEN=0.0.0.0:8081",
            "ADMIN__TOKENS=ci:editor:12345678",
        ],
    ] {
        let settings = set(&[&application[..], &listener].concat()).unwrap();
        settings.validate_for_serve().unwrap();
    }
}

#[test]
fn risky_settings_are_warned_about_and_safe_ones_are_not() {
    let warnings = |variable: &str| set(&[variable]).unwrap().warnings();
    let is_warned = |variable: &str, warning| {
        let mut warnings = warnings(variable).into_iter();
        warnings.any(|one| one.starts_with(warning))
    };
    for case in RISKY.trim().lines() {
        let (variable, warning) = case.trim_start().split_once(" | ").unwrap();
        assert!(is_warned(variable, warning), "{case}");
        assert!(!warnings(variable).concat().contains("geheim"), "{case}");
    }
    for url in [
        "db.example.com/marks?sslmode=require",
        "db.example.com/marks?sslmode=verify-full",
        "stickymark-postgres-rw.stickymark/marks",
        "postgres.databases.svc.cluster.local/marks",
        "127.0.0.1/marks",
        "[::1]/marks",
        "stickymark-rw/marks",
    ] {
        let variable = format!("DATABASE__URL=postgres://u:p@{url}");
        assert!(!is_warned(&variable, "database.url"), "{url}");
    }
    let safe = set(&[
        &format!("CHAT__SECRET_KEY={}", "0f".repeat(32)),
        "CALLBACK__TOKENS=long-enough-token",
        "ADMIN__TOKENS=ci:editor:1234567890abcdef",
        "DATABASE__URL=postgres://db/marks",
    ])
    .unwrap();
    assert_eq!(safe.warnings(), Vec::<String>::new());
}

/// A variable, and how the warning begins.
const RISKY: &str = r#"
    CHAT__SECRET_KEY=short | chat.secret_key
    CHAT__BASE_URL=http://chat.example | chat.base_url
    CHAT__CALLS_PER_SECOND=200 | chat.calls_per_second
    CALLBACK__TOKENS=1234567 | callback.tokens has
    CALLBACK__MAX_AGE=1h | callback.max_age
    CALLBACK__FORWARD_FAILURE=fail | callback.forward_failure
    ADMIN__TOKENS=ci:editor:12345678 | admin.tokens
    RESYNC__INTERVAL=0s | resync.interval
    REAPPLY__LEASE=6s | reapply.lease
    REAPPLY__MAX_WAIT=2s | reapply.max_wait
    DATABASE__MAX_CONNECTIONS=4 | database.max_connections
    DATABASE__URL=postgres://u:geheim@db.example.com/marks | database.url leads to another machine
    DATABASE__URL=postgres://u:p@10.0.0.7/marks?sslmode=prefer | database.url leads to another machine
    DATABASE__URL=postgres://u:p@db/marks?sslpassword=geheim&sslmod=x | database.url has parameters that the driver ignores: "sslpassword, sslmod"
    LOG__FORMAT=text | callback.tokens is empty
    LOG__FORMAT=text | database.url is not set
"#;
