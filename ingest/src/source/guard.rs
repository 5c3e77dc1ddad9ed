//! Keeps a user's URL from reaching into the operator's network.
//!
//! The name is resolved here and the very address that was checked is connected to, so that a name cannot point elsewhere
//! between check and connection. Every connection is checked anew. Nothing follows redirects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use tokio::net::{TcpStream, lookup_host};
use url::{Host, Url};

use crate::session::SocketError;

/// What is not the public internet, by the IANA IPv4 special-purpose address registry (read 2026-11), and everything from
/// multicast up. The metadata addresses of clouds (169.254.169.254, 100.100.100.200) lie inside.
const RESERVED_V4: [Ipv4Net; 14] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 3),
];

/// The only block of IPv6 that is routed on the public internet.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// What is reserved inside it: IETF protocols (Teredo and ORCHID too), and documentation.
const RESERVED_V6: [Ipv6Net; 3] = [v6([0x2001, 0], 23), v6([0x2001, 0xdb8], 32), v6([0x3fff, 0], 20)];

/// Addresses that carry an IPv4 address: NAT64 in its last four bytes (RFC 6052), 6to4 after its first two (RFC 3056).
const NAT64: Ipv6Net = v6([0x64, 0xff9b], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0], 16);

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), length)
}

const fn v6(head: [u16; 2], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], 0, 0, 0, 0, 0, 0), length)
}

/// Whether an address belongs to the public internet: not private, loopback, link-local, shared (CGNAT), multicast,
/// documentation or otherwise reserved, nor an IPv6 form that leads to such an IPv4 address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !RESERVED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(carried) = carried_v4(address) {
        return is_public(IpAddr::V4(carried));
    }
    GLOBAL_V6.contains(&address) && !RESERVED_V6.iter().any(|net| net.contains(&address))
}

fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |from: usize| Ipv4Addr::new(octets[from], octets[from + 1], octets[from + 2], octets[from + 3]);
    if NAT64.contains(&address) {
        Some(at(12))
    } else if SIX_TO_FOUR.contains(&address) {
        Some(at(2))
    } else {
        address.to_ipv4_mapped()
    }
}

/// Why an address is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Neither `ws` nor `wss`.
    #[error("only ws:// and wss:// urls are taken, not {0}://")]
    Scheme(String),
    /// A URL without a host.
    #[error("the url has no host")]
    NoHost,
    /// A name without an address.
    #[error("host has no address: {0}")]
    Unresolved(String),
    /// Every address of the host lies outside the public internet.
    #[error("host is not on the public internet: {0}; the operator may allow private addresses")]
    NotPublic(String),
}

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Any: the operator chose the URL, or allows private addresses.
    AllowAll,
    /// Those of the public internet.
    PublicOnly,
}

impl Guard {
    /// Connects to the first allowed address of the URL's host that answers.
    ///
    /// # Errors
    /// [`SocketError::Forbidden`] where no address is allowed, [`SocketError::Transport`] where none answers.
    pub async fn connect(self, url: &Url) -> Result<TcpStream, SocketError> {
        let mut failure = String::new();
        for address in self.allowed(url).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error.to_string(),
            }
        }
        Err(SocketError::Transport(failure))
    }

    async fn allowed(self, url: &Url) -> Result<Vec<SocketAddr>, GuardError> {
        let found = resolve(url).await?;
        let host = || url.host_str().unwrap_or_default().to_owned();
        if found.is_empty() {
            return Err(GuardError::Unresolved(host()));
        }
        let allowed: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() { Err(GuardError::NotPublic(host())) } else { Ok(allowed) }
    }

    fn allows(self, address: IpAddr) -> bool {
        self == Self::AllowAll || is_public(address)
    }
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, GuardError> {
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(GuardError::Scheme(url.scheme().to_owned()));
    }
    let port = url.port_or_known_default().unwrap_or(443);
    match url.host().ok_or(GuardError::NoHost)? {
        Host::Ipv4(address) => Ok(vec![(address, port).into()]),
        Host::Ipv6(address) => Ok(vec![(address, port).into()]),
        Host::Domain(name) => match lookup_host((name, port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(GuardError::Unresolved(format!("{name}: {error}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let public = [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001:82a::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text} is public");
        }
    }

    #[test]
    fn nothing_inside_is_public() {
        let inside = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ];
        let inside_v6 = [
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ];
        for text in inside.into_iter().chain(inside_v6) {
            assert!(!is_public(text.parse().unwrap()), "{text} is inside");
        }
    }

    #[tokio::test]
    async fn every_spelling_of_loopback_is_refused() {
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
        {
            let url = Url::parse(&format!("ws://{host}:9/")).unwrap();
            let refused = Guard::PublicOnly.connect(&url).await;
            assert!(
                matches!(refused, Err(SocketError::Forbidden(GuardError::NotPublic(_)))),
                "{host}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn other_schemes_are_refused() {
        let url = Url::parse("http://8.8.8.8/").unwrap();
        let refused = Guard::PublicOnly.connect(&url).await;
        assert!(matches!(refused, Err(SocketError::Forbidden(GuardError::Scheme(_)))));
    }

    #[tokio::test]
    async fn the_operator_may_allow_loopback() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        assert!(Guard::AllowAll.connect(&url).await.is_ok());
    }
}
