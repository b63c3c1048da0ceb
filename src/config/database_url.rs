//! `database.url`, read for the driver without guessing.
//!
//! A raw `/`, `?` or `#` in a password ends the host's part of a URL, and what follows would be taken
//! for a port, a database or nothing at all, would appear in messages, and a wrong host would be
//! called. Such a URL is refused, and no error repeats any part of it. The driver would write
//! parameters that it does not know to the log with their values, so it never receives them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use secrecy::SecretString;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::values::Parse;

const FORM: &str = "give postgres://user:password@host:5432/database, with special characters of \
                    the password percent-encoded";

/// What the driver understands after the `?`, besides `options[…]`.
const KNOWN: &str = "sslmode ssl-mode sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key \
                     statement-cache-capacity host hostaddr port dbname user password application_name options";

/// Where a database is. Shows nothing of it in `Debug`.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// For the driver.
    pub options: PgConnectOptions,
    /// Names of the parameters that mean nothing to the driver.
    pub(super) ignored: Vec<String>,
}

impl DatabaseUrl {
    /// Whether the connection may be made without TLS to a server on another machine. A host without a
    /// dot, or a service of a cluster (`name.namespace`, `name.namespace.svc…`), belongs to a network
    /// of containers, where that is usual; operators of PostgreSQL put such names into their secrets.
    /// A public name of two labels looks the same and goes unnoticed.
    pub(super) fn may_be_clear_text_elsewhere(&self) -> bool {
        let host = self.options.get_host();
        let here = match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => host.starts_with('/') || matches!(host.split('.').nth(2), None | Some("svc")),
        };
        let optional = matches!(
            self.options.get_ssl_mode(),
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
        );
        self.options.get_socket().is_none() && !here && optional
    }
}

impl Parse for DatabaseUrl {
    fn parse(text: &str) -> Result<Self, String> {
        SecretString::parse(text)?;
        let rest = text
            .strip_prefix("postgres://")
            .or(text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| format!("does not begin with postgres://; {FORM}"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if rest.contains('@') || rest.contains('#') {
            return Err(format!(
                "cannot be read without guessing: / ? # in the user or password, and # or @ behind the \
                 host, must be percent-encoded (/ is %2F, ? is %3F, # is %23, @ is %40); {FORM}"
            ));
        }
        let host = authority.rsplit('@').next().unwrap_or_default();
        let invalid = || format!("is not a PostgreSQL URL; {FORM}");
        if host.contains(',') {
            return Err(SEVERAL_HOSTS.to_owned());
        }
        let mut url = Url::parse(text).map_err(|_| invalid())?;
        let (known, ignored) = parameters(&url)?;
        match known.is_empty() {
            true => url.set_query(None),
            false => drop(url.query_pairs_mut().clear().extend_pairs(&known)),
        }
        let mut options = PgConnectOptions::from_url(&url).map_err(|_| invalid())?;
        let literal = options
            .get_host()
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some(ip) = literal.and_then(|host| host.parse::<Ipv6Addr>().ok()) {
            options = options.host(&ip.to_string());
        }
        Ok(Self { options, ignored })
    }
}

const SEVERAL_HOSTS: &str =
    "names several hosts, which is not supported; give one that always leads to the primary";

type Pair = (String, String);

/// The pairs of the query that the driver knows, and the names of the others.
fn parameters(url: &Url) -> Result<(Vec<Pair>, Vec<String>), String> {
    let query = url.query().unwrap_or_default();
    let mut pieces = query.split('&').filter(|piece| !piece.is_empty());
    if pieces.any(|piece| !piece.contains('=')) {
        return Err("has a parameter that is not name=value; write & in a value as %26".into());
    }
    let pairs = url.query_pairs().into_owned();
    let (known, ignored): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| {
        KNOWN.split(' ').any(|known| known == name) || name.starts_with("options[")
    });
    let given = |wanted: &str| known.iter().find(|(name, _)| name == wanted);
    if given("host").is_some_and(|(_, hosts)| hosts.contains(',')) {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    // A raw & in it would make the rest a parameter, and a raw + means a space to some programs.
    if given("password").is_some() {
        return Err(format!("has a parameter password; {FORM}"));
    }
    Ok((known, ignored.into_iter().map(|(name, _)| name).collect()))
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<DatabaseUrl, String> {
        DatabaseUrl::parse(url)
    }

    /// What the driver connects to, with the password.
    fn seen(url: &DatabaseUrl) -> String {
        format!("{:?}", url.options)
    }

    #[test]
    fn a_password_is_either_read_as_it_is_or_the_url_is_refused() {
        for special in "/#?@:%&+=,".chars() {
            let encoded = format!("%{:02X}", u32::from(special));
            for form in ["XSECRET", "SEXCRET", "SECRETX", "4821XSECRET"] {
                let password = form.replace('X', &special.to_string());
                let url =
                    |password: &str| format!("postgres://marks:{password}@db.internal:5433/live");
                let right = |url: &DatabaseUrl| {
                    let seen = seen(url);
                    assert!(
                        seen.contains(&format!("password: Some({password:?})")),
                        "{seen}"
                    );
                    assert!(seen.contains("host: \"db.internal\", port: 5433"), "{seen}");
                };
                right(&read(&url(&form.replace('X', &encoded))).unwrap());
                match read(&url(&password)) {
                    Ok(raw) => right(&raw),
                    Err(error) => {
                        assert!("/#?".contains(special), "{error}");
                        for part in ["SE", "CRET", "4821", "db.internal", "marks"] {
                            assert!(!error.contains(part), "{error}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn ipv6_literals_stand_in_brackets() {
        for (url, host) in [
            ("postgres://u:p@[::1]:5433/db", "::1"),
            ("postgres://u:p@[2001:DB8::7]/db", "2001:db8::7"),
            ("postgres://u:p@[::ffff:10.0.0.1]/db", "::ffff:10.0.0.1"),
        ] {
            assert_eq!(read(url).unwrap().options.get_host(), host);
        }
    }

    #[test]
    fn what_the_driver_does_not_know_never_reaches_it() {
        let url = "postgres://h:5433/db?user=u%40x&sslpassword=geheim&options[a]=b";
        let url = read(url).unwrap();
        assert_eq!(url.options.get_username(), "u@x");
        assert_eq!(url.ignored, ["sslpassword"]);
        assert_eq!(url.options.get_options(), Some("-c a=b"));
        assert!(!seen(&url).contains("geheim"));
        assert_eq!(format!("{url:?}"), "DatabaseUrl([REDACTED])");
    }
}
