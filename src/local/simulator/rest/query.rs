//! Checks the query of a REST call. Nothing of it is ever logged: it holds the UserSig.

use super::answer::{Refusal, code};
use crate::local::simulator::shared::Shared;
use crate::local::simulator::user_sig::{self, Refused};

/// Lets a call of the application's administrator through.
pub(super) fn check(shared: &Shared, query: &str, now: i64) -> Result<(), Refusal> {
    let mut seen: [Option<String>; 5] = Default::default();
    const KEYS: [&str; 5] = ["sdkappid", "identifier", "usersig", "random", "contenttype"];
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if let Some(place) = KEYS.iter().position(|known| *known == key)
            && seen[place].replace(value.into_owned()).is_some()
        {
            let info = format!("`{}` stands twice in the URL", KEYS[place]);
            return Err(Refusal::new(code::URL_PARAMETER, info));
        }
    }
    let [app, identifier, sig, random, content_type] = seen.map(Option::unwrap_or_default);
    check_application(shared, &app)?;
    if identifier.is_empty() {
        return Err(Refusal::new(code::URL_PARAMETER, "`identifier` is missing"));
    }
    if sig.is_empty() {
        return Err(Refusal::new(code::SIG_EMPTY, "`usersig` is empty"));
    }
    if random.parse::<u32>().is_err() {
        let info = "`random` is an integer from 0 to 4294967295";
        return Err(Refusal::new(code::URL_PARAMETER, info));
    }
    if content_type != "json" {
        return Err(Refusal::new(code::URL_PARAMETER, "`contenttype` is json"));
    }
    let app = shared.sdk_app_id;
    user_sig::verify(&sig, app, &identifier, &shared.secret_key, now)?;
    if identifier != shared.admin_account {
        return Err(Refusal::new(
            code::NEEDS_ADMIN,
            "`identifier` is not an administrator",
        ));
    }
    Ok(())
}

fn check_application(shared: &Shared, app: &str) -> Result<(), Refusal> {
    if app.is_empty() {
        return Err(Refusal::new(
            code::SDK_APP_ID_MISSING,
            "`sdkappid` is missing",
        ));
    }
    match app.parse::<u32>() {
        Err(_) => Err(Refusal::new(code::SDK_APP_ID, "`sdkappid` is not a number")),
        Ok(app) if app != shared.sdk_app_id => {
            Err(Refusal::new(code::SDK_APP_ID_UNKNOWN, "no such SDKAppID"))
        }
        Ok(_) => Ok(()),
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (code, info) = match refused {
            Refused::Malformed => (code::SIG_MALFORMED, "the UserSig cannot be read"),
            Refused::OtherApplication => (
                code::SIG_OTHER_APPLICATION,
                "the UserSig is for another SDKAppID",
            ),
            Refused::OtherAccount => (
                code::SIG_OTHER_ACCOUNT,
                "the UserSig is for another identifier",
            ),
            Refused::WrongKey => (code::SIG_WRONG_KEY, "the UserSig was made with another key"),
            Refused::Expired => (code::SIG_EXPIRED, "the UserSig has expired"),
        };
        Self::new(code, info)
    }
}
