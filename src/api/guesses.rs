//! How many wrong tokens may be tried, in one replica.
//!
//! Wrong tokens are counted by where they come from, so that one guesser does not lock out others.
//! Behind a proxy that is the address that the proxy appended to `X-Forwarded-For`. Where no proxy is,
//! a client can write there what it likes, so all of one peer have a wider limit together. Clients behind
//! one address are told apart by nothing, so long secrets, which cannot be guessed, are accepted in any
//! case; see `auth`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::http::HeaderName;
use axum::http::request::Parts;
use parking_lot::Mutex;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// So many wrong tokens at once, then one after each pause.
type Limit = (u32, Duration);
const OF_A_CLIENT: Limit = (10, Duration::from_secs(2));
const OF_A_PEER: Limit = (100, Duration::from_millis(200));

/// Sources that are kept. When there are more, those that may try freely again are forgotten, and in the
/// end all of them.
const SOURCES: usize = 10_000;

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub peer: IpAddr,
    pub client: IpAddr,
}

/// When the wrong tokens of a source are forgotten: each adds a pause.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<(IpAddr, Option<IpAddr>), Instant>>);

impl Source {
    pub fn of(head: &Parts) -> Self {
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
            peer.0.ip().to_canonical()
        });
        let hops = head.headers.get_all(FORWARDED_FOR).iter().next_back();
        let hop = hops
            .and_then(|hops| hops.to_str().ok())
            .and_then(|hops| hops.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
        Self {
            peer: network(peer),
            client: network(hop.unwrap_or(peer)),
        }
    }
}

/// An IPv6 client has a whole network of addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Guesses {
    /// Whether a token from there counts: not if too many were wrong of late. Only wrong ones are kept.
    pub fn permit(&self, source: Source, right: bool, now: Instant) -> bool {
        let mut all = self.0.lock();
        let sources = [
            ((source.peer, Some(source.client)), OF_A_CLIENT),
            ((source.peer, None), OF_A_PEER),
        ];
        let sources = sources.map(|(key, limit)| {
            let forgotten = all.get(&key).map_or(now, |at| now.max(*at));
            (key, limit, forgotten)
        });
        let permitted = sources
            .iter()
            .all(|(_, (at_once, pause), forgotten)| *forgotten - now <= *pause * (at_once - 1));
        if permitted && !right {
            if all.len() >= SOURCES {
                all.retain(|_, forgotten| *forgotten > now);
            }
            if all.len() >= SOURCES {
                all.clear();
            }
            for (key, (_, pause), forgotten) in sources {
                all.insert(key, forgotten + pause);
            }
        }
        permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn source(peer: &str, forwarded_for: &[&str]) -> Source {
        let mut request = Request::get("/");
        for hops in forwarded_for {
            request = request.header(FORWARDED_FOR, *hops);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        head.extensions.insert(ConnectInfo(peer));
        Source::of(&head)
    }

    fn wrong(guesses: &Guesses, source: Source, now: Instant) -> bool {
        guesses.permit(source, false, now)
    }

    #[test]
    fn the_nearest_proxy_says_who_the_client_is() {
        let behind = |hops: &[&str]| source("10.0.0.1", hops).client.to_string();
        assert_eq!(behind(&[]), "10.0.0.1");
        assert_eq!(behind(&["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(behind(&["203.0.113.9", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(behind(&["unknown"]), "10.0.0.1");
        assert_eq!(behind(&["2001:db8:1:2:3:4:5:6"]), "2001:db8:1:2::");
        assert_eq!(source("::ffff:10.0.0.1", &[]).peer.to_string(), "10.0.0.1");
    }

    #[test]
    fn wrong_tokens_are_slowed_down_and_lock_out_no_other_even_behind_the_same_proxy() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let guesser = source("10.0.0.1", &["198.51.100.7"]);
        assert!((0..100).all(|_| guesses.permit(guesser, true, start)));
        assert!((0..10).all(|_| wrong(&guesses, guesser, start)));
        assert!(!guesses.permit(guesser, true, start));
        for other in [
            source("10.0.0.1", &["203.0.113.9"]),
            source("10.0.0.1", &[]),
            source("10.0.0.2", &["198.51.100.7"]),
        ] {
            assert!(guesses.permit(other, true, start));
        }
        let later = start + Duration::from_secs(2);
        assert!(wrong(&guesses, guesser, later));
        assert!(!wrong(&guesses, guesser, later));
    }

    #[test]
    fn a_client_that_forges_its_address_is_limited_by_its_own() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let tries = (0..1000).filter(|n| {
            let hop = format!("10.1.{}.{}", n / 256, n % 256);
            wrong(&guesses, source("198.51.100.7", &[&hop]), now)
        });
        assert_eq!(tries.count(), 100);
    }

    #[test]
    fn memory_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for n in 0..3 * SOURCES as u32 {
            let peer = IpAddr::from(Ipv4Addr::from_bits(n));
            let client = peer;
            wrong(&guesses, Source { peer, client }, now);
        }
        assert!(guesses.0.lock().len() <= SOURCES + 2);
    }
}
