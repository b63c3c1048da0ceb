//! The JSON of the answers.
//!
//! It is read tolerantly: Chat's pages disagree on shapes (`MemberList` is an Object in the table
//! and an Array in the sample of <https://www.tencentcloud.com/document/product/1047/50294>) and
//! keys come and go. What is not understood is skipped, never guessed: a member counts only when
//! his account can be read.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::calls::MemberMarks;
use super::error::{ChatError, harmless};
use super::error_codes::ErrorCode;
use crate::domain::{Account, RequestId};

/// What `modify_user_info` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModifyAnswer {
    /// The members the answer names, of those asked for; nobody else was changed.
    pub confirmed: HashSet<Account>,
}

/// One page of the members online in a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembersPage {
    /// The members; each at most once a page.
    pub members: Vec<OnlineMember>,
    /// The timestamp to ask the next page with, or `None` at the end.
    pub next: Option<u64>,
}

/// A member whom Chat believes online; its list lags by up to 40 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineMember {
    /// The member.
    pub account: Account,
    /// When he joined, to the second, if Chat said so.
    pub joined_at: Option<DateTime<Utc>>,
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

    pub fn modified(&self, asked: &[MemberMarks]) -> ModifyAnswer {
        let named: HashSet<&str> = self
            .entries("MemberList")
            .filter_map(account_text)
            .collect();
        let accounts = asked.iter().map(|member| &member.account);
        let confirmed = accounts.filter(|account| named.contains(account.as_str()));
        ModifyAnswer {
            confirmed: confirmed.cloned().collect(),
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

    /// A page whose `NextTimestamp` is the one just asked for would never end, so it is an error.
    pub fn members_page(&self, asked: u64) -> Result<MembersPage, ChatError> {
        let mut seen = HashSet::new();
        let member = |entry| {
            let account = Account::parse(account_text(entry)?).ok()?;
            let joined_at = integer(&entry["JoinTime"]).filter(|seconds| *seconds > 0);
            let joined_at = joined_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            Some(OnlineMember { account, joined_at })
        };
        let members = self.entries("MemberList").filter_map(member);
        let members = members
            .filter(|member| seen.insert(member.account.clone()))
            .collect();
        let next = match &self.0["NextTimestamp"] {
            Value::Null => 0,
            given => integer(given)
                .and_then(|next| u64::try_from(next).ok())
                .ok_or(ChatError::BadAnswer("its NextTimestamp is no timestamp"))?,
        };
        if next != 0 && next == asked {
            return Err(ChatError::BadAnswer("its NextTimestamp does not lead on"));
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

/// An integer, or one in quotes.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Mark;
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
            assert_eq!(answer(list).modified(&asked).confirmed, expected);
        }
    }

    #[test]
    fn a_page_of_members_leads_on_or_ends() {
        let page = answer(json!({"NextTimestamp": "1760000000", "MemberList": [
            {"Member_Account": "alice", "JoinTime": 1_760_000_000},
            {"Member_Account": "alice"}, {"Member_Account": ""}, {"NickName": "x"}]}));
        let page = page.members_page(0).unwrap();
        let joined_at = DateTime::from_timestamp(1_760_000_000, 0);
        assert_eq!(
            page.members,
            [OnlineMember {
                account: account("alice"),
                joined_at
            }]
        );
        assert_eq!(page.next, Some(1_760_000_000));
        assert_eq!(
            answer(json!({"NextTimestamp": 0}))
                .members_page(5)
                .unwrap()
                .next,
            None
        );
        assert!(answer(json!({"NextTimestamp": 5})).members_page(5).is_err());
        assert!(
            answer(json!({"NextTimestamp": -1}))
                .members_page(5)
                .is_err()
        );
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
