//! `database.url`, read for the driver.
//!
//! The driver would write parameters that it does not know to the log, values and all, and a value may
//! be a password. They never get there; whoever wants to warn of them is told their names.

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use url::Url;

/// What the driver understands behind the `?`, beside `options[…]`.
const KNOWN: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// Where a database is.
#[derive(Debug)]
pub struct DatabaseAddress {
    /// For the driver.
    pub options: PgConnectOptions,
    /// Names of the parameters that mean nothing to the driver.
    pub ignored: Vec<String>,
}

impl DatabaseAddress {
    /// Reads a URL. `None` if it is none that leads to a PostgreSQL; the reason could quote it.
    pub fn read(url: &str) -> Option<Self> {
        let mut url = Url::parse(url).ok()?;
        let is_known =
            |name: &str| KNOWN.contains(&name) || name == "options" || name.starts_with("options[");
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        // What stands there without a value may be the rest of one: of a password with an `&` in it.
        let nameless = |name: &String| {
            let mut pieces = url.query().unwrap_or_default().split('&');
            pieces.any(|piece| piece == name)
        };
        let (known, ignored): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| is_known(name));
        let named = |(name, _)| match nameless(&name) {
            true => "(one without a value)".to_owned(),
            false => name,
        };
        let names = ignored.iter().cloned().map(named).collect();
        if !ignored.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(known);
        }
        Some(Self {
            options: PgConnectOptions::from_url(&url).ok()?,
            ignored: names,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_does_not_know_never_gets_to_it() {
        let url = "postgres://u:p@h:5433/db?sslmode=require&sslpassword=geheim&options[a]=b";
        let address = DatabaseAddress::read(url).unwrap();
        assert_eq!(address.ignored, ["sslpassword"]);
        assert_eq!(address.options.get_options(), Some("-c a=b"));
        assert!(!format!("{:?}", address.options).contains("geheim"));
        let cut = DatabaseAddress::read("postgres://h/db?password=ge&heim").unwrap();
        assert_eq!(cut.ignored, ["(one without a value)"]);
        assert!(DatabaseAddress::read("postgres://h:port/db").is_none());
    }
}
