//! The JSON of the answers.
//!
//! It is read tolerantly: Chat's pages disagree on shapes (`MemberList` is an Object in the table
//! and an Array in the sample of <https://www.tencentcloud.com/document/product/1047/50294>) and
//! keys come and go. What cannot be read is skipped, never guessed: a member counts only when the
//! account can be read.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::calls::{CommandType, MemberMarks};
use super::error::{ChatError, harmless};
use super::error_codes::ErrorCode;
use crate::domain::{Account, Mark, MarkSet, RequestId};

/// What `modify_user_info` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModifyAnswer {
    /// The members that the answer names, of those in the call, and the marks of the call that it
    /// names for them; no other member was changed.
    pub confirmed: HashMap<Account, MarkSet>,
}

/// One page of the members that Chat believes online in a room; its list lags by up to 40 s.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembersPage {
    /// The members; each at most once a page.
    pub members: Vec<Account>,
    /// The timestamp to ask the next page with, or `None` at the end.
    pub next: Option<u64>,
}

/// An answer with `ErrorCode` 0.
#[derive(Debug)]
pub(super) struct Answer(Value);

impl Answer {
    /// Reads a body; any other `ErrorCode` is an error.
    pub fn parse(body: &[u8]) -> Result<Self, ChatError> {
        let Ok(answer @ Value::Object(_)) = serde_json::from_slice(body) else {
            return Err(ChatError::BadAnswer("it is no JSON object"));
        };
        let code = integer(&answer["ErrorCode"]);
        let code = code.ok_or(ChatError::BadAnswer("it has no ErrorCode"))?;
        if code != 0 {
            let info = harmless(answer["ErrorInfo"].as_str().unwrap_or_default());
            let request = answer["RequestId"].as_str().and_then(RequestId::parse);
            return Err(ChatError::Refused {
                code: ErrorCode::new(code),
                info,
                request,
            });
        }
        match &answer["ActionStatus"] {
            Value::String(status) if status != "OK" => Err(ChatError::BadAnswer(
                "it has ErrorCode 0 and an ActionStatus other than OK",
            )),
            _ => Ok(Self(answer)),
        }
    }

    /// Which marks an answer to a delete names for a member is not documented, nor whether those that
    /// the member did not carry are among them: there the name of the member counts for all of them,
    /// and so it does in an answer to a set that names no marks for the member.
    pub fn modified(&self, command: CommandType, asked: &[MemberMarks]) -> ModifyAnswer {
        let entries = self.entries("MemberList");
        let named: HashMap<&str, Option<MarkSet>> = entries
            .filter_map(|entry| Some((account_text(entry)?, marks(entry))))
            .collect();
        let confirmed = asked.iter().filter_map(|member| {
            let marks = match named.get(member.account.as_str())? {
                Some(marks) if command == CommandType::Set => marks & &member.marks,
                _ => member.marks.clone(),
            };
            Some((member.account.clone(), marks))
        });
        ModifyAnswer {
            confirmed: confirmed.collect(),
        }
    }

    pub fn present(&self, asked: &[Account]) -> Vec<Account> {
        let named: HashSet<&str> = self
            .entries("Member_Account")
            .filter_map(account_text)
            .collect();
        let present = asked
            .iter()
            .filter(|account| named.contains(account.as_str()));
        present.cloned().collect()
    }

    /// A page whose `NextTimestamp` is the one of the call would never end, so it is an error.
    pub fn members_page(&self, asked: u64) -> Result<MembersPage, ChatError> {
        let mut seen = HashSet::new();
        let account = |entry| Account::parse(account_text(entry)?).ok();
        let members = self.entries("MemberList").filter_map(account);
        let members = members.filter(|account| seen.insert(account.clone()));
        let members = members.collect();
        let next = match &self.0["NextTimestamp"] {
            Value::Null => 0,
            given => integer(given)
                .and_then(|next| u64::try_from(next).ok())
                .ok_or(ChatError::BadAnswer("its NextTimestamp is no timestamp"))?,
        };
        if next != 0 && next == asked {
            return Err(ChatError::BadAnswer(
                "its NextTimestamp is that of the page before",
            ));
        }
        Ok(MembersPage {
            members,
            next: (next != 0).then_some(next),
        })
    }

    pub fn online_member_num(&self) -> Result<u64, ChatError> {
        let number = integer(&self.0["OnlineMemberNum"]).and_then(|n| u64::try_from(n).ok());
        number.ok_or(ChatError::BadAnswer("it has no OnlineMemberNum"))
    }

    /// The entries of a list that may be missing, null, an array, or its single entry.
    fn entries(&self, key: &str) -> impl Iterator<Item = &Value> {
        match &self.0[key] {
            Value::Array(entries) => entries.iter(),
            Value::Null => [].iter(),
            single => std::slice::from_ref(single).iter(),
        }
    }
}

/// The account of an entry: a string, or an object with `Member_Account`.
fn account_text(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry["Member_Account"].as_str())
}

/// The marks of an entry; `None` if it has no list of them.
fn marks(entry: &Value) -> Option<MarkSet> {
    let marks = entry["Marks"].as_array()?.iter();
    let marks = marks.filter_map(|mark| Mark::parse(integer(mark)?).ok());
    Some(marks.collect())
}

/// An integer, or one in quotes.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn account(text: &str) -> Account {
        Account::parse(text).unwrap()
    }

    fn member(text: &str, marks: &[i64]) -> MemberMarks {
        let marks = marks.iter().map(|mark| Mark::parse(*mark).unwrap());
        MemberMarks {
            account: account(text),
            marks: marks.collect(),
        }
    }

    fn answer(extra: Value) -> Answer {
        let mut body = json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Answer::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_member_list_may_come_in_any_of_its_shapes() {
        let asked = [member("alice", &[1000]), member("bob", &[1000])];
        for (list, confirmed) in [
            (json!({}), &[][..]),
            (json!({"MemberList": null}), &[]),
            (json!({"MemberList": []}), &[]),
            (
                json!({"MemberList": {"Member_Account": "bob", "Marks": [1000]}}),
                &["bob"],
            ),
            (
                json!({"MemberList": [{"Member_Account": "alice", "New": {}}]}),
                &["alice"],
            ),
            (
                json!({"MemberList": [{"Member_Account": "eve"}, {"Member_Account": 7}, 3]}),
                &[],
            ),
        ] {
            let expected: HashSet<Account> = confirmed.iter().map(|text| account(text)).collect();
            let confirmed = answer(list).modified(CommandType::Set, &asked).confirmed;
            assert_eq!(confirmed.into_keys().collect::<HashSet<_>>(), expected);
        }
    }

    #[test]
    fn a_set_counts_for_the_marks_that_the_answer_names() {
        let asked = [member("alice", &[1000, 1001])];
        let all: &[i64] = &[1000, 1001];
        let (set, delete) = (CommandType::Set, CommandType::Delete);
        for (named, command, confirmed) in [
            (json!([1000, 1001, 1002]), set, all),
            (json!([1001]), set, &[1001]),
            (json!(["1000", "x"]), set, &[1000]),
            (json!([]), set, &[]),
            (json!(null), set, all),
            (json!("1000"), set, all),
            (json!([1001]), delete, all),
            (json!([]), delete, all),
        ] {
            let list = json!({"MemberList": [{"Member_Account": "alice", "Marks": named}]});
            let done = answer(list).modified(command, &asked);
            let expected = member("alice", confirmed).marks;
            assert_eq!(done.confirmed[&account("alice")], expected, "{named}");
        }
    }

    #[test]
    fn a_page_of_members_leads_on_or_ends() {
        let page = answer(json!({"NextTimestamp": "1760000000", "MemberList": [
            {"Member_Account": "alice", "JoinTime": 1_760_000_000},
            {"Member_Account": "alice"}, {"Member_Account": ""}, {"NickName": "x"}]}));
        let page = page.members_page(0).unwrap();
        assert_eq!(page.members, [account("alice")]);
        assert_eq!(page.next, Some(1_760_000_000));
        let next = |next: i64| answer(json!({ "NextTimestamp": next })).members_page(5);
        assert_eq!(next(0).unwrap().next, None);
        assert!(next(5).is_err() && next(-1).is_err());
    }

    #[test]
    fn a_refusal_tells_the_id_that_chat_gave_the_call() {
        let refused = |id: Value| {
            let body = json!({"ActionStatus": "FAIL", "ErrorCode": 10002, "ErrorInfo": "system error",
                "RequestId": id});
            Answer::parse(body.to_string().as_bytes()).unwrap_err()
        };
        let named = refused(json!("2c6b-7"));
        assert_eq!(named.request().map(RequestId::as_str), Some("2c6b-7"));
        let text = named.to_string();
        assert!(!text.contains("2c6b-7"), "failures of a kind read alike");
        for none in [json!(null), json!(7), json!("a\nb"), json!("")] {
            assert_eq!(refused(none).request(), None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange_to_read(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Answer::parse(&body).is_err());
        }
    }
}
