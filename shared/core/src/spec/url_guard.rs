//! Which URLs of a user's may be fetched at all, as far as their text shows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Bytes in a URL at most.
const MAX_URL_BYTES: usize = 2048;

/// Why a URL is not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL, or not a WebSocket's.
    #[error("not a WebSocket URL: it begins with wss:// or ws:// and names a host")]
    NotWebSocket,
    /// Longer than taken.
    #[error("the URL is longer than 2048 bytes")]
    TooLong,
    /// A user name or password in it, which would be shown to whoever lists the streams.
    #[error("a URL with a user name or password in it is refused")]
    Credentials,
    /// Not on the public internet.
    #[error("{0} is not a public address; the operator may allow private ones")]
    Private(String),
    /// A port where no WebSocket is expected.
    #[error(
        "port {0} is not one for WebSockets; use 80, 443, or one from 1024 on that is no known service's"
    )]
    Port(u16),
}

/// Parses a WebSocket URL; a fragment is dropped, since it is never sent.
///
/// # Errors
/// [`UrlError`], all but [`UrlError::Private`] and [`UrlError::Port`].
pub fn parse_url(text: &str) -> Result<Url, UrlError> {
    if text.len() > MAX_URL_BYTES {
        return Err(UrlError::TooLong);
    }
    let mut url = Url::parse(text.trim()).map_err(|_| UrlError::NotWebSocket)?;
    if !matches!(url.scheme(), "ws" | "wss") || url.host().is_none() {
        return Err(UrlError::NotWebSocket);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::Credentials);
    }
    url.set_fragment(None);
    if url.as_str().len() > MAX_URL_BYTES { Err(UrlError::TooLong) } else { Ok(url) }
}

/// Refuses URLs whose text already names a host that is not on the public internet.
///
/// A public name may still resolve to a private address: whoever connects checks the resolved address with
/// [`is_public`] again.
///
/// # Errors
/// [`UrlError`].
pub fn guard_url(text: &str, allow_private: bool) -> Result<(), UrlError> {
    let url = parse_url(text)?;
    let public = match url.host() {
        Some(Host::Domain(name)) => is_public_name(name),
        Some(Host::Ipv4(ip)) => is_public(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => is_public(IpAddr::V6(ip)),
        None => false,
    };
    let port = url.port_or_known_default().unwrap_or_default();
    match (public, is_usual_port(port)) {
        _ if allow_private => Ok(()),
        (false, _) => Err(UrlError::Private(url.host_str().unwrap_or_default().to_owned())),
        (true, false) => Err(UrlError::Port(port)),
        (true, true) => Ok(()),
    }
}

/// Ports from 1024 on where something else than a WebSocket is expected to listen: databases, queues, caches, remote control.
const SERVICES: [u16; 29] = [
    1433, 1521, 1883, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 4444, 5432, 5672, 5900, 5984,
    6379, 6443, 8086, 8500, 9042, 9092, 9200, 9300, 10250, 11211, 27017, 27018,
];

/// Whether a WebSocket on the public internet is expected at a port: 80, 443, and those from 1024 on that are no known service's.
pub fn is_usual_port(port: u16) -> bool {
    matches!(port, 80 | 443) || (port >= 1024 && SERVICES.binary_search(&port).is_err())
}

/// Names that are local by standard (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`), or have no dot.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let local = ["localhost", "local", "internal", "home.arpa", "localdomain"];
    name.contains('.') && !local.iter().any(|tail| name.ends_with(&format!(".{tail}")))
}

/// Whether an address is on the public internet (IANA special-purpose registries, read 2026-11).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => embedded_v4(ip).map_or_else(|| is_public_v6(ip), is_public_v4),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation();
    let this_network = a == 0;
    let shared = a == 100 && (64..128).contains(&b);
    let protocol_assignments = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    let benchmarking = a == 198 && (18..20).contains(&b);
    let reserved = a >= 240;
    !(special || this_network || shared || protocol_assignments || benchmarking || reserved)
}

/// The IPv4 address that an IPv6 one carries: mapped, compatible, NAT64 or 6to4.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if high != 0 => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Global unicast is `2000::/3`; documentation and protocol blocks within it are not public.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let documentation = (first == 0x2001 && second == 0xdb8) || (first == 0x3fff && second < 0x1000);
    let protocol_assignments = first == 0x2001 && second < 0x200;
    first & 0xe000 == 0x2000 && !documentation && !protocol_assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_other_services_are_refused_unless_the_operator_allows_any() {
        assert!(SERVICES.is_sorted());
        for port in [1, 22, 25, 53, 445, 1023, 1433, 3306, 5432, 6379, 9200, 11211, 27017] {
            let url = format!("ws://example.com:{port}/");
            assert_eq!(guard_url(&url, false), Err(UrlError::Port(port)));
            assert_eq!(guard_url(&url, true), Ok(()));
        }
    }

    #[test]
    fn only_public_hosts_pass_unless_private_ones_are_allowed() {
        for public in
            ["wss://example.com/feed", "ws://8.8.8.8:9000", "wss://[2606:4700::1111]/x", "WSS://A.b.example."]
        {
            assert_eq!(guard_url(public, false), Ok(()), "{public}");
        }
        for private in [
            "ws://localhost",
            "ws://LOCALHOST.",
            "ws://app.localhost",
            "ws://redis",
            "ws://printer.local",
            "ws://metadata.google.internal",
            "ws://127.0.0.1",
            "ws://2130706433",
            "ws://0x7f.1",
            "ws://0177.0.0.1",
            "ws://0.0.0.0",
            "ws://10.1.2.3",
            "ws://100.64.0.1",
            "ws://169.254.169.254/latest",
            "ws://172.16.0.1",
            "ws://192.168.1.1",
            "ws://224.0.0.1",
            "ws://255.255.255.255",
            "ws://[::1]",
            "ws://[::]",
            "ws://[::ffff:10.0.0.1]",
            "ws://[64:ff9b::a00:1]",
            "ws://[2002:7f00:1::]",
            "ws://[fe80::1]",
            "ws://[fd00:ec2::254]",
            "ws://[ff02::1]",
        ] {
            assert!(matches!(guard_url(private, false), Err(UrlError::Private(_))), "{private}");
            assert_eq!(guard_url(private, true), Ok(()), "{private}");
        }
    }

    #[test]
    fn only_websocket_urls_without_secrets_pass() {
        for text in ["", "https://example.com", "wss://", "example.com", "file:///etc/passwd", "wss:// x"] {
            assert_eq!(guard_url(text, true), Err(UrlError::NotWebSocket), "{text}");
        }
        assert_eq!(guard_url("wss://u:p@example.com", true), Err(UrlError::Credentials));
        assert_eq!(
            guard_url(&format!("wss://example.com/{}", "x".repeat(2048)), true),
            Err(UrlError::TooLong)
        );
    }
}
