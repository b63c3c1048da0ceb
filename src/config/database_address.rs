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
        let mut known: Vec<(String, String)> = Vec::new();
        let mut ignored = Vec::new();
        let query = url.query().unwrap_or_default().to_owned();
        let pieces = query.split('&').filter(|piece| !piece.is_empty());
        for (piece, pair) in pieces.zip(url.query_pairs().into_owned()) {
            match is_known(&pair.0) {
                true => known.push(pair),
                false => ignored.push(name(piece)),
            }
        }
        if !ignored.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(known);
        }
        Some(Self {
            options: PgConnectOptions::from_url(&url).ok()?,
            ignored,
        })
    }
}

/// The name of a parameter. What does not look like one may be the rest of a password with an `&` in it.
fn name(piece: &str) -> String {
    let is_name = |name: &str| {
        let mut letters = name.bytes();
        letters.all(|c| c.is_ascii_lowercase() || matches!(c, b'_' | b'-'))
    };
    match piece.split_once('=') {
        Some((name, _)) if is_name(name) => name.to_owned(),
        _ => "(one that is no name)".to_owned(),
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
        for rest in ["heim", "he%20im", "he+im", "he1m=x", "heim%3D"] {
            let url = format!("postgres://h/db?password=ge&{rest}");
            let cut = DatabaseAddress::read(&url).unwrap();
            assert_eq!(cut.ignored, ["(one that is no name)"], "{rest}");
        }
        assert!(DatabaseAddress::read("postgres://h:port/db").is_none());
    }
}
