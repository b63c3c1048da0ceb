//! What is printed before and after the show: where things are, the rules, lines to try.

use secrecy::ExposeSecret;

use super::page;
use super::script::{LESSON, RULES};
use super::stage::Places;

/// Where everything is.
pub(super) fn places(places: &Places) -> String {
    let taken: Vec<String> = places.taken.iter().map(u16::to_string).collect();
    let taken = match taken.is_empty() {
        true => String::new(),
        false => format!(
            "\n  (port {} is taken, so a free one is used)",
            taken.join(", ")
        ),
    };
    format!(
        "Stickymark keeps member marks of live rooms in place. All of it runs on this machine:\n\
         \x20 simulated Chat   http://{chat}\n\
         \x20 callbacks        http://{callback}/callback\n\
         \x20 management API   http://{admin}\n\
         \x20 stage            http://{admin}{stage}\n\
         \x20 database         PostgreSQL in {database}, removed at the end{taken}",
        chat = places.chat,
        callback = places.callback,
        admin = places.admin,
        database = places.database.display(),
        stage = page::PATH,
    )
}

/// The rules of the show.
pub(super) fn rules() -> String {
    let mut text = "The rules say who carries which marks:".to_owned();
    for rule in RULES {
        let marks: Vec<String> = rule.marks.iter().map(u32::to_string).collect();
        text.push_str(&format!(
            "\n  {:<15} {:<8} {:<12} {:<6} {}",
            rule.id,
            rule.group,
            rule.account,
            marks.join(" "),
            rule.note
        ));
    }
    text.push_str("\nChat forgets marks whenever a member leaves or drops.");
    text
}

/// Lines to try with the real ports and the real token.
pub(super) fn lines(places: &Places) -> String {
    let Places { chat, admin, .. } = places;
    let token = places.token.expose_secret();
    let viewer = places.viewer.expose_secret();
    let member = format!(r#"'{{"group":"{LESSON}","accounts":["teacher-li"]}}'"#);
    format!(
        r#"It runs until Ctrl-C. Open in a browser:

  stage    http://{admin}{stage}    move the members yourself and make Chat fail
  console  http://{admin}/#/overview?token={token}    signs in; to look only, the token is {viewer}

In another terminal, while this one goes on telling:

  # the teacher drops and comes back; the marks on the teacher
  curl http://{chat}/control/drop -d {member}
  curl http://{chat}/control/back -d {member}
  sleep 1; curl -s http://{chat}/control/room -d '{{"group":"{LESSON}"}}' | grep -o '"teacher-li":{{[^}}]*}}'

  # a rule for one pupil acts at once; and without it again. (A rule for pupil-* reaches all within seconds.)
  curl -X PUT http://{admin}/v1/rules/pupil -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/json' -d '{{"group":"{LESSON}","account":"pupil-01","marks":[1003]}}'
  curl -X DELETE http://{admin}/v1/rules/pupil -H 'Authorization: Bearer {token}'

  # all rules; the service's health; the calls that Chat got
  curl -s http://{admin}/v1/rules -H 'Authorization: Bearer {token}'
  curl -s http://{admin}/readyz
  curl -s http://{chat}/control/stats

  # the next two calls fail; now let a member drop and come back
  curl http://{chat}/control/fault -d '{{"api":"modify_user_info","count":2,"effect":{{"error_code":60008}}}}'
"#,
        stage = page::PATH,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
    use std::net::SocketAddr;

    fn some(taken: Vec<u16>) -> Places {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Places {
            chat: at(1),
            callback: at(2),
            admin: at(3),
            token: SecretString::from("s3cret"),
            viewer: SecretString::from("peep"),
            database: "/var/lib/stickymark/x".into(),
            taken,
        }
    }

    #[test]
    fn the_lines_carry_the_real_addresses_and_the_token() {
        let text = lines(&some(vec![]));
        assert!(text.contains("curl http://127.0.0.1:1/control/drop -d '{\"group\":\"math-7\""));
        assert!(
            text.contains("http://127.0.0.1:3/v1/rules/pupil -H 'Authorization: Bearer s3cret'")
        );
    }

    #[test]
    fn stage_and_console_are_told_each_on_its_line_and_how_to_get_in() {
        let text = lines(&some(vec![]));
        let line = |start: &str| {
            let line = text
                .lines()
                .find(|line| line.trim_start().starts_with(start));
            line.unwrap_or_default().to_owned()
        };
        assert!(line("stage ").contains("http://127.0.0.1:3/stage "));
        assert!(line("console ").contains("http://127.0.0.1:3/#/overview?token=s3cret "));
        assert!(line("console ").ends_with("peep"));
    }

    #[test]
    fn ports_that_others_have_are_told() {
        assert!(places(&some(vec![8080])).contains("port 8080 is taken"));
        assert!(!places(&some(vec![])).contains("taken"));
    }

    #[test]
    fn the_database_is_told_where_it_really_is() {
        assert!(places(&some(vec![])).contains("PostgreSQL in /var/lib/stickymark/x"));
    }
}
