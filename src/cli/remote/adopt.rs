//! `stickymark rules adopt`: the marks that members carry now as rules, for an app that already uses
//! marks. It asks Chat itself, with the settings of the service.

use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, value_parser};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};

use crate::chat::{Budgets, ChatClient};
use crate::cli::output;
use crate::config::Settings;
use crate::domain::{Account, GroupId, Mark, RuleId};

/// A tenth of what Chat allows: the app makes calls of its own.
const PAUSE: Duration = Duration::from_millis(50);
/// Characters of a hash that keep shortened ids apart.
const HASH: usize = 12;

#[derive(Debug, Args)]
pub(in crate::cli) struct AdoptArguments {
    /// The live rooms to read.
    #[arg(required = true, value_name = "ROOM", value_parser = GroupId::parse)]
    rooms: Vec<GroupId>,
    /// A mark to look for; repeat it, or separate several with commas.
    #[arg(long, required = true, value_delimiter = ',', value_name = "MARK",
          value_parser = value_parser!(i64).try_map(Mark::parse))]
    mark: Vec<Mark>,
    /// The label of the rules.
    #[arg(long, default_value = "adopted")]
    label: String,
}

/// Prints a rule for each member and the marks that they carry.
pub(in crate::cli) async fn run(
    settings: &Settings,
    arguments: AdoptArguments,
) -> anyhow::Result<()> {
    let chat = ChatClient::new(&settings.chat, Budgets::none())?;
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for room in &arguments.rooms {
        let mut carried = std::collections::BTreeMap::<Account, Vec<Mark>>::new();
        for mark in &arguments.mark {
            let mut timestamp = 0;
            loop {
                pace.tick().await;
                let page = chat.get_members(room, timestamp, Some(*mark)).await?;
                for account in page.members {
                    let marks = carried.entry(account).or_default();
                    if marks.last() != Some(mark) {
                        marks.push(*mark);
                    }
                }
                match page.next {
                    Some(next) if next != timestamp => timestamp = next,
                    _ => break,
                }
            }
        }
        eprintln!("{room}: {} members carry these marks", carried.len());
        for (account, marks) in &carried {
            let rule = json!({
                "id": id(room, account).as_str(),
                "group": literal(room.as_str()),
                "account": literal(account.as_str()),
                "marks": marks,
                "label": arguments.label,
            });
            output::line(&rule.to_string())?;
        }
    }
    Ok(())
}

/// In a pattern a star means any text.
fn literal(text: &str) -> String {
    text.replace('*', "\\*")
}

/// The room and the account if an id can hold them, else what it can hold of them and a hash.
fn id(room: &GroupId, account: &Account) -> RuleId {
    let both = format!("{room}-{account}");
    RuleId::parse(&both).unwrap_or_else(|_| {
        let hash = hex::encode(Sha256::digest(format!("{room}\n{account}")));
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
        let beginning: String = both.chars().filter(plain).take(50).collect();
        let id = format!("{beginning}-{}", &hash[..HASH]);
        RuleId::parse(&id).unwrap_or_else(|_| RuleId::generate())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_gets_an_id_of_their_own_and_always_the_same() {
        let id = |room: &str, account: &str| {
            id(
                &GroupId::parse(room).unwrap(),
                &Account::parse(account).unwrap(),
            )
            .to_string()
        };
        assert_eq!(id("class-7", "ann"), "class-7-ann");
        let strange = id("@TGS#2ABC", "老师");
        assert!(strange.starts_with("TGS2ABC-"), "{strange}");
        assert_eq!(strange, id("@TGS#2ABC", "老师"));
        assert_ne!(strange, id("@TGS#2ABC", "老"));
        assert_ne!(id("g", &"a".repeat(63)), id("g", &"a".repeat(64)));
    }
}
