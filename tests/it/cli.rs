//! The command line as operators use it: the real program against a real `serve`.

use serde_json::{Value, json};
use stickymark::testing::local::simulator::{
    Options, Running, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, start,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::database::{TestDatabase, database};
use crate::support::process::{Orders, Ran, Replica, program, run, until};

/// A service that runs, a simulated Chat behind it, and the files of their user.
struct Desk {
    service: Replica,
    files: TempDir,
    chat: Running,
    _database: TestDatabase,
}

impl Desk {
    async fn open() -> Self {
        let database = database().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let chat = start(Options::default(), listener).unwrap();
        let files = tempfile::tempdir().unwrap();
        let orders = Orders {
            database: database.url().to_string(),
            chat: chat.url(),
            environment: vec![
                (
                    "STICKYMARK__ADMIN__TOKENS",
                    "eve:editor:editor-secret,vic:viewer:viewer-secret".to_owned(),
                ),
                ("STICKYMARK__MARKS__NAMES", "1009=guest".to_owned()),
            ],
        };
        let service = Replica::start(&orders, files.path().join("serve.log")).await;
        Self {
            service,
            files,
            chat,
            _database: database,
        }
    }

    fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let url = format!("http://{}", self.service.admin);
        let settings = [("STICKYMARK_URL", &*url), ("STICKYMARK_TOKEN", token)];
        let mut command = program(arguments, &settings);
        command.current_dir(self.files.path());
        command
    }

    async fn run_as(&self, token: &str, arguments: &[&str]) -> Ran {
        run(&mut self.command(token, arguments)).await
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_as("editor-secret", arguments).await
    }

    /// Runs what must succeed, and answers what it prints.
    async fn done(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments).await;
        assert_eq!(answer.status, 0, "{arguments:?}: {}", answer.err);
        answer.out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments).await).unwrap()
    }

    fn write(&self, name: &str, rules: &[Value]) {
        let text: String = rules.iter().map(|rule| format!("{rule}\n")).collect();
        std::fs::write(self.files.path().join(name), text).unwrap();
    }
}

#[track_caller]
fn says(text: &str, part: &str) {
    assert!(text.contains(part), "{text}");
}

fn rules(label: &str, count: usize) -> Vec<Value> {
    let rule = |n: usize| {
        json!({"id": format!("{label}-{n:03}"), "group": format!("class-{}", n % 7),
               "account": format!("pupil{n}"), "marks": [1000 + n % 3], "label": label})
    };
    (0..count).map(rule).collect()
}

#[tokio::test]
async fn rules_travel_through_files_and_come_back_the_same() {
    let desk = Desk::open().await;
    desk.write("all", &[rules("school", 60), rules("sport", 50)].concat());
    let made = desk.done(&["rules", "import", "all"]).await;
    assert_eq!(made, "created 110, updated 0, unchanged 0, removed 0\n");

    let export = desk.done(&["rules", "export"]).await;
    assert_eq!(export.lines().count(), 110);
    std::fs::write(desk.files.path().join("export"), &export).unwrap();
    let again = ["rules", "import", "export", "--mode", "replace"];
    assert_eq!(
        desk.done(&again).await,
        "created 0, updated 0, unchanged 110, removed 0\n"
    );
    let same = ["rules", "diff", "export", "--mode", "replace"];
    assert_eq!(desk.done(&same).await, "");
    assert_eq!(desk.done(&["rules", "export"]).await, export);
}

#[tokio::test]
async fn a_label_is_replaced_after_a_look_at_what_would_change() {
    let desk = Desk::open().await;
    desk.write("all", &[rules("school", 20), rules("sport", 20)].concat());
    desk.done(&["rules", "import", "all"]).await;
    let mut wanted = rules("school", 21);
    wanted.remove(19);
    wanted[0]["marks"] = json!([1009]);
    desk.write("wanted", &wanted);

    let replace = ["wanted", "--mode", "replace", "--label", "school"];
    let differs = desk
        .run(&[["rules", "diff"].as_slice(), &replace].concat())
        .await;
    assert_eq!((differs.status, differs.err.as_str()), (1, ""));
    assert_eq!(
        differs.out,
        "- school-019  class-5 pupil19 1001\n\
         ~ school-000  marks 1000 -> 1009 (guest)\n\
         + school-020  class-6 pupil20 1002\n\
         created 1, updated 1, unchanged 18, removed 1\n\
         dry run: nothing was changed\n"
    );
    let import = [["rules", "import"].as_slice(), &replace].concat();
    let shown = desk
        .done(&[import.as_slice(), &["--dry-run"]].concat())
        .await;
    assert_eq!(shown, differs.out);
    let done = desk.done(&import).await;
    assert_eq!(done, "created 1, updated 1, unchanged 18, removed 1\n");
    let left = desk.json(&["rules", "list", "--json"]).await;
    assert_eq!(left.as_array().unwrap().len(), 40);

    desk.write("few", &rules("school", 3));
    let few = [
        "rules", "import", "few", "--mode", "replace", "--label", "school",
    ];
    let refused = desk.run(&few).await;
    assert_eq!((refused.status, refused.out.as_str()), (1, ""));
    assert!(refused.err.starts_with("error: "), "{}", refused.err);
    says(&refused.err, "remove 17 of 20 rules");
    says(&refused.err, "--max-removals 17");
    let allowed = [few.as_slice(), &["--max-removals", "17", "--json"]].concat();
    assert_eq!(desk.json(&allowed).await["removed"], 17);
}

#[tokio::test]
async fn one_rule_is_made_shown_guarded_and_removed() {
    let desk = Desk::open().await;
    let rule = |mark: u32| json!({"group": "class-7", "account": "ann", "marks": [mark]});
    desk.write("rule", &[rule(1000)]);
    assert_eq!(
        desk.done(&["rules", "put", "r", "rule"]).await,
        "created r (version 1)\n"
    );
    desk.write("rule", &[rule(1001)]);
    let changed = desk
        .json(&["rules", "put", "r", "rule", "--if-version", "1", "--json"])
        .await;
    assert_eq!(
        (&changed["version"], &changed["marks"]),
        (&json!(2), &json!([1001]))
    );
    let stale = desk
        .run(&["rules", "delete", "r", "--if-version", "1"])
        .await;
    assert_eq!(stale.status, 1);
    says(&stale.err, "at version 2");

    let shown = desk.done(&["rules", "get", "r"]).await;
    assert!(
        shown.contains("marks       1001\n") && shown.contains(" s ago)\n"),
        "{shown}"
    );
    let listed = desk
        .done(&["rules", "list", "--mark", "1001", "--enabled", "true"])
        .await;
    assert!(
        listed.starts_with("ID  GROUP    ACCOUNT  MARKS"),
        "{listed}"
    );
    assert_eq!(listed.lines().count(), 2);

    assert_eq!(desk.done(&["rules", "delete", "r"]).await, "deleted r\n");
    let gone = desk.run(&["rules", "get", "r"]).await;
    assert_eq!((gone.status, gone.out.as_str()), (1, ""));
    assert_eq!(gone.err, "error: rule r not found\n");
    let history = desk.json(&["rules", "history", "r", "--json"]).await;
    let actions: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["action"].as_str().unwrap(),
                entry["actor"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        actions,
        [("created", "eve"), ("updated", "eve"), ("deleted", "eve")]
    );
    let table = desk.done(&["rules", "history", "r"]).await;
    says(&table, "marks 1000 -> 1001");
}

#[tokio::test]
async fn members_rooms_and_the_service_can_be_looked_at() {
    let desk = Desk::open().await;
    desk.write(
        "all",
        &[
            json!({"id": "now", "group": "class-7", "account": "ann", "marks": [1000]}),
            json!({"id": "past", "group": "class-*", "account": "ann", "marks": [1001],
                   "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-02-01T00:00:00Z"}),
        ],
    );
    let chat = desk.chat.client().unwrap();
    chat.join("class-7", &["ann"]).await.unwrap();
    desk.done(&["rules", "import", "all"]).await;
    until("the mark of ann is in place", async || {
        let members = desk
            .json(&["members", "--group", "class-7", "--json"])
            .await;
        members[0]["state"] == "applied" && members[0]["marks"] == json!([1000])
    })
    .await;
    let table = desk.done(&["members", "--state", "applied"]).await;
    says(&table, "class-7  ann");

    let why = desk.done(&["explain", "class-7", "ann"]).await;
    says(&why, "Active rules that match:\nID   GROUP");
    says(&why, "Near misses:");
    let why = desk.json(&["explain", "class-7", "ann", "--json"]).await;
    assert_eq!(why["desired"], json!([1000]));
    assert_eq!(why["near"][0]["reason"], "ended");

    let status = desk.done(&["status"]).await;
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("database").ends_with("  ok"), "{status}");
    assert!(line("failed calls").ends_with("  0"), "{status}");
    assert!(
        line("callbacks").contains("  no callback since 20"),
        "{status}"
    );
    says(&status, "Latest callbacks:\nCOMMAND");
    assert_eq!(desk.json(&["status", "--json"]).await["draining"], false);
    assert_eq!(
        desk.json(&["resync", "class-7", "--json"]).await,
        json!({"group": "class-7"})
    );
}

#[tokio::test]
async fn mistakes_end_with_2_and_refusals_with_1_and_a_reason() {
    let desk = Desk::open().await;
    for wrong in [
        ["rules", "import"].as_slice(),
        &["rules", "import", "x", "--mode", "both"],
        &["rules", "list", "--most", "many"],
        &["members", "--state", "asleep"],
        &["status", "--url", "nowhere"],
        &["completions", "cobol"],
        &["sing"],
    ] {
        let answer = desk.run(wrong).await;
        assert_eq!((answer.status, answer.out.as_str()), (2, ""), "{wrong:?}");
        assert!(answer.err.starts_with("error: "), "{}", answer.err);
    }
    desk.write("one", &rules("a", 1));
    let refused = desk
        .run_as("viewer-secret", &["rules", "import", "one"])
        .await;
    assert_eq!((refused.status, refused.out.as_str()), (1, ""));
    says(&refused.err, "vic is a viewer");
    assert_eq!(
        desk.run_as("viewer-secret", &["rules", "list"])
            .await
            .status,
        0
    );
    let stranger = desk.run_as("guessed", &["status"]).await;
    assert_eq!(stranger.status, 1);
    says(&stranger.err, "invalid token");
    assert!(!stranger.err.contains("guessed"), "{}", stranger.err);

    std::fs::write(desk.files.path().join("bad"), "{}\n{\"id\":7}\n").unwrap();
    let bad = desk.run(&["rules", "import", "bad"]).await;
    assert_eq!(bad.status, 1);
    says(&bad.err, "error: line 1: /group is required");
    assert!(
        bad.err
            .contains("error: line 2: /id invalid type: integer `7`, expected a string"),
        "{}",
        bad.err
    );
    assert_eq!(desk.run(&["rules", "diff", "absent"]).await.status, 1);
    let nobody = ["status", "--url", "http://127.0.0.1:1"];
    let nobody = desk.run(&nobody).await;
    assert_eq!(nobody.status, 1);
    says(&nobody.err, "--url");
    let callbacks = format!("http://{}", desk.service.callbacks);
    let other = desk.run(&["status", "--url", &callbacks]).await;
    says(&other.err, "404 Not Found; is this the admin");
}

/// A pipe whose reader has gone, as `head` leaves it.
#[tokio::test]
async fn commands_end_quietly_when_nobody_reads_on() {
    let desk = Desk::open().await;
    desk.write("all", &rules("many", 300));
    desk.done(&["rules", "import", "all"]).await;
    for arguments in [
        ["rules", "export"].as_slice(),
        &["rules", "list"],
        &["rules", "list", "--json"],
        &["rules", "get", "many-001"],
        &["rules", "history", "many-001"],
        &["members"],
        &["status"],
        &["explain", "class-1", "pupil1"],
        &["openapi"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = desk.command("editor-secret", arguments);
        let output = command.stdout(writer).output().await.unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        // An import makes no rows of members that Chat does not know.
        let said = match arguments {
            ["members"] => "no members\n",
            _ => "",
        };
        let ended = (output.status.code(), err.as_str());
        assert_eq!(ended, (Some(0), said), "{arguments:?}");
    }
}

#[tokio::test]
async fn errors_say_what_would_be_right_and_show_no_secret() {
    for (arguments, token, status, right) in [
        (
            ["rules", "list", "--url", "http://me:geheim@127.0.0.1:1"],
            "t",
            1,
            "does not answer",
        ),
        (
            ["rules", "list", "--url", "http://127.0.0.1:1"],
            "geheim\n2",
            2,
            "copied whole",
        ),
        (
            ["simulate", "--listen", "nowhere", "--sdk-app-id=1"],
            "t",
            2,
            "127.0.0.1:9100",
        ),
        (
            ["user-sig", "--ttl", "0s", "--account=a"],
            "t",
            2,
            "at least one second",
        ),
    ] {
        let answer = run(&mut program(&arguments, &[("STICKYMARK_TOKEN", token)])).await;
        assert_eq!(answer.status, status, "{arguments:?}: {}", answer.err);
        says(&answer.err, right);
        assert!(!answer.err.contains("geheim"), "{}", answer.err);
    }
}

#[tokio::test]
async fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = run(&mut program(&["completions", shell], &[])).await;
        assert_eq!((answer.status, answer.err.as_str()), (0, ""), "{shell}");
        for word in ["serve", "explain", "resync", "adopt", "max-removals"] {
            assert!(answer.out.contains(word), "{shell} does not know {word}");
        }
    }
}

#[tokio::test]
async fn rules_are_written_with_options_and_found_by_what_they_cover() {
    let desk = Desk::open().await;
    let put = "rules put r --group class-* --account ann --mark 1009,1001 --until 2h -l school";
    let put: Vec<&str> = put.split(' ').collect();
    assert_eq!(desk.done(&put).await, "created r (version 1)\n");
    desk.done(&[
        "rules",
        "put",
        "s",
        "--group",
        "hall",
        "--account",
        "*",
        "--mark",
        "1000",
    ])
    .await;
    let listed = desk
        .done(&["rules", "list", "--matches-group", "class-7"])
        .await;
    says(&listed, "1001, 1009 (guest)");
    assert!(
        listed.contains("in 119 min") && listed.lines().count() == 2,
        "{listed}"
    );
    let names = |arguments: &'static str| async {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        desk.done(&arguments).await
    };
    assert_eq!(names("rules list -o name").await, "r\ns\n");
    assert_eq!(names("rules list scho -o name").await, "r\n");
    assert_eq!(
        names("rules list --matches-account eva -o name").await,
        "s\n"
    );
    let lines = names("rules list -o ndjson").await;
    assert_eq!(lines.lines().count(), 2);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["id"], &first["label"]),
        (&json!("r"), &json!("school"))
    );

    let shown = names("rules disable r s --dry-run").await;
    assert!(shown.starts_with("~ r  enabled true -> false\n"), "{shown}");
    says(&shown, "dry run");
    assert_eq!(names("rules list --enabled true -o name").await, "r\ns\n");
    names("rules disable r s").await;
    assert_eq!(names("rules list --enabled false -o name").await, "r\ns\n");
    names("rules enable s").await;
    assert_eq!(names("rules list --enabled true -o name").await, "s\n");
    let unknown = desk.run(&["rules", "enable", "s", "nope"]).await;
    assert_eq!(unknown.status, 1);
    says(&unknown.err, "rule nope not found");
    let both = ["rules", "put", "r", "file", "--group", "g"];
    assert_eq!(desk.run(&both).await.status, 2);
}

#[tokio::test]
async fn rooms_retries_and_the_log_filter_have_commands() {
    let desk = Desk::open().await;
    let empty = desk.run(&["members", "--state", "failed"]).await;
    assert_eq!(
        (empty.status, &*empty.out, &*empty.err),
        (0, "", "no members\n")
    );
    assert_eq!(desk.run(&["rooms"]).await.err, "no rooms\n");
    assert_eq!(
        desk.done(&["members", "retry"]).await,
        "retrying 0 members\n"
    );
    assert_eq!(
        desk.json(&["members", "retry", "--group", "g", "--json"])
            .await,
        json!({"retried": 0})
    );
    assert_eq!(
        desk.done(&["members", "erase", "vip*", "--dry-run"]).await,
        "would erase 0 rules, 0 member rows, 0 history entries\n"
    );
    assert_eq!(
        desk.json(&["members", "erase", "vip*", "--json"]).await["dry_run"],
        false
    );
    let asked = desk.done(&["resync", "hall"]).await;
    says(&asked, "stickymark rooms hall");
    let rooms = desk.done(&["rooms", "hall"]).await;
    assert!(rooms.starts_with("GROUP  STATE"), "{rooms}");
    assert_eq!(desk.done(&["rooms", "-o", "name"]).await, "hall\n");

    assert_eq!(desk.done(&["log"]).await, "info\n");
    assert_eq!(
        desk.done(&["log", "info,stickymark=debug"]).await,
        "info,stickymark=debug\n"
    );
    let wrong = desk.run(&["log", "stickymark=loud"]).await;
    assert_eq!(wrong.status, 1);
    says(&wrong.err, "is not a filter");
}

#[tokio::test]
async fn marks_that_an_app_uses_already_are_adopted_as_rules() {
    let desk = Desk::open().await;
    let chat = desk.chat.client().unwrap();
    chat.join("class-7", &["ann", "bob", "cid"]).await.unwrap();
    for (id, account, marks) in [
        ("a", "ann", "1000,1001"),
        ("b", "bob", "1001"),
        ("c", "cid", "1005"),
    ] {
        let put = [
            "rules",
            "put",
            id,
            "--group",
            "class-7",
            "--account",
            account,
            "--mark",
            marks,
        ];
        desk.done(&put).await;
    }
    until("all marks are set", async || {
        let members = desk
            .json(&["members", "--state", "applied", "--json"])
            .await;
        let set = |member: &Value| !member["marks"].as_array().unwrap().is_empty();
        members
            .as_array()
            .unwrap()
            .iter()
            .filter(|member| set(member))
            .count()
            == 3
    })
    .await;
    let app = SAMPLE_SDK_APP_ID.to_string();
    let adopt = async |room: &str| {
        let url = desk.chat.url();
        let settings = [
            ("STICKYMARK__CHAT__BASE_URL", url.as_str()),
            ("STICKYMARK__CHAT__SDK_APP_ID", &app),
            ("STICKYMARK__CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
        ];
        let arguments = ["rules", "adopt", room, "--mark", "1000,1001"];
        run(&mut program(&arguments, &settings)).await
    };
    let adopted = adopt("class-7").await;
    assert_eq!(adopted.status, 0, "{}", adopted.err);
    let rules = adopted
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let rules: Vec<Value> = rules.collect();
    let rule = |account: &str, marks: &[u32]| {
        json!({"id": format!("class-7-{account}"), "group": "class-7", "account": account,
               "marks": marks, "label": "adopted"})
    };
    assert_eq!(rules, [rule("ann", &[1000, 1001]), rule("bob", &[1001])]);
    std::fs::write(desk.files.path().join("adopted"), &adopted.out).unwrap();
    let imported = desk.done(&["rules", "import", "adopted"]).await;
    assert_eq!(imported, "created 2, updated 0, unchanged 0, removed 0\n");

    let unknown = adopt("nowhere").await;
    assert_eq!((unknown.status, &*unknown.out), (1, ""));
    says(&unknown.err, "10015");
}
