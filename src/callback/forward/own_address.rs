//! Whether a URL leads back to our own listener.
//!
//! Judged by port and address alone, for no path of our own is a backend. A name that cannot be
//! resolved now, or a proxy that leads back, is not found out here; the mark on every forwarded
//! callback is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;
use url::{Host, Url};

/// The start does not wait longer for names.
const LOOKUP_WITHIN: Duration = Duration::from_secs(2);

/// Whether whoever calls `url` from this machine reaches what listens at `listener`.
pub async fn leads_to(url: &Url, listener: SocketAddr) -> bool {
    let port = url.port_or_known_default();
    if port != Some(listener.port()) || listener.port() == 0 {
        return false;
    }
    let called = addresses(url, listener.port()).await;
    called
        .into_iter()
        .any(|ip| reaches(ip.to_canonical(), listener.ip()))
}

async fn addresses(url: &Url, port: u16) -> Vec<IpAddr> {
    match url.host() {
        Some(Host::Ipv4(ip)) => vec![ip.into()],
        Some(Host::Ipv6(ip)) => vec![ip.into()],
        Some(Host::Domain(name)) => match timeout(LOOKUP_WITHIN, lookup_host((name, port))).await {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        },
        None => Vec::new(),
    }
}

fn reaches(called: IpAddr, listener: IpAddr) -> bool {
    let listener = listener.to_canonical();
    // Calling "any address" is calling this machine.
    let called_is_loopback = called.is_loopback() || called.is_unspecified();
    match listener.is_unspecified() {
        true => called_is_loopback || is_of_this_machine(called),
        false => called == listener || called.is_unspecified() && listener.is_loopback(),
    }
}

/// Towards one of its own addresses, a machine speaks from that address. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn leads(url: &str, listener: &str) -> bool {
        leads_to(&url.parse().unwrap(), listener.parse().unwrap()).await
    }

    #[tokio::test]
    async fn our_own_address_is_known_by_all_its_names() {
        for (url, listener) in [
            ("http://127.0.0.1:8080/im", "127.0.0.1:8080"),
            ("http://localhost:8080/im", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/im", "0.0.0.0:8080"),
            ("http://127.9.9.9:8080/im", "[::]:8080"),
            ("http://[::1]:8080/im", "[::]:8080"),
            ("http://[::ffff:127.0.0.1]:8080/im", "127.0.0.1:8080"),
            ("http://0.0.0.0:8080/im", "127.0.0.1:8080"),
            ("http://LOCALHOST/im", "0.0.0.0:80"),
            ("https://localhost/im", "0.0.0.0:443"),
        ] {
            assert!(leads(url, listener).await, "{url} {listener}");
        }
    }

    #[tokio::test]
    async fn another_port_or_another_machine_is_a_backend() {
        for (url, listener) in [
            ("http://127.0.0.1:8081/callback", "127.0.0.1:8080"),
            ("http://127.0.0.2:8080/callback", "127.0.0.1:8080"),
            ("http://192.0.2.7:8080/callback", "0.0.0.0:8080"),
            ("http://192.0.2.7:8080/callback", "[::]:8080"),
            ("http://backend.invalid:8080/callback", "0.0.0.0:8080"),
            ("http://localhost/callback", "0.0.0.0:8080"),
        ] {
            assert!(!leads(url, listener).await, "{url} {listener}");
        }
    }

    #[tokio::test]
    async fn an_address_of_this_machine_on_the_network_is_our_own() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Without a network there is no such address to try.
        if socket.connect("192.0.2.7:9").is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(leads(&format!("http://{own}:8080/"), "0.0.0.0:8080").await);
        }
    }
}
