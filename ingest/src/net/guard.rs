//! Prevents that a user's URL reaches into the operator's network.
//!
//! The host name is resolved here, the address is checked, and the connection goes to this very address. So the name cannot be pointed
//! elsewhere between the check and the connection. Every connection is checked. Redirects are not followed.

use std::net::{IpAddr, SocketAddr};

use bond_core::spec::{is_public, is_usual_port};
use tokio::net::{TcpStream, lookup_host};
use url::{Host, Url};

/// Why a URL may not be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The scheme is neither `ws` nor `wss`.
    #[error("only ws:// and wss:// urls are taken, not {0}://")]
    Scheme(String),
    /// The URL has no host.
    #[error("the url has no host")]
    NoHost,
    /// The host name has no address.
    #[error("host has no address: {0}")]
    Unresolved(String),
    /// No WebSocket server is expected on this port.
    #[error("port {0} is another service's; the operator may allow private addresses and any port")]
    Port(u16),
    /// Every address of the host lies outside the public internet.
    #[error("host is not on the public internet: {0}; the operator may allow private addresses")]
    NotPublic(String),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL may not be connected to.
    #[error(transparent)]
    Forbidden(#[from] GuardError),
    /// None of the allowed addresses answers.
    #[error("{0}")]
    Unreachable(String),
}

/// Which addresses may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Any address: the operator chose the URL, or allows private addresses.
    AllowAll,
    /// Addresses of the public internet only.
    PublicOnly,
}

impl Guard {
    /// Connects to the first allowed address of the URL's host that answers.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(self, url: &Url) -> Result<TcpStream, ConnectError> {
        let mut failure = String::new();
        for address in self.allowed(url).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error.to_string(),
            }
        }
        Err(ConnectError::Unreachable(failure))
    }

    async fn allowed(self, url: &Url) -> Result<Vec<SocketAddr>, GuardError> {
        let port = url.port_or_known_default().unwrap_or(443);
        if self == Self::PublicOnly && !is_usual_port(port) {
            return Err(GuardError::Port(port));
        }
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
    fn the_public_internet_is_allowed() {
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
            assert!(Guard::PublicOnly.allows(text.parse().unwrap()), "{text} is public");
        }
    }

    #[test]
    fn nothing_inside_is_allowed() {
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
            assert!(!Guard::PublicOnly.allows(text.parse().unwrap()), "{text} is inside");
        }
    }

    #[tokio::test]
    async fn every_spelling_of_loopback_is_refused() {
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"]
        {
            let url = Url::parse(&format!("ws://{host}:9000/")).unwrap();
            let refused = Guard::PublicOnly.connect(&url).await;
            assert!(
                matches!(refused, Err(ConnectError::Forbidden(GuardError::NotPublic(_)))),
                "{host}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn ports_of_other_services_are_refused_before_anything_is_looked_up() {
        for port in [1, 22, 25, 53, 110, 389, 445, 1023, 1433, 2375, 3306, 5432, 6379, 9200, 11211, 27017] {
            let url = Url::parse(&format!("ws://8.8.8.8:{port}/")).unwrap();
            let refused = Guard::PublicOnly.connect(&url).await;
            assert_eq!(refused.err(), Some(ConnectError::Forbidden(GuardError::Port(port))));
        }
        for port in [80, 443, 1024, 8080, 8443, 9443, 65535] {
            assert!(is_usual_port(port), "{port}");
        }
    }

    #[tokio::test]
    async fn other_schemes_are_refused() {
        let url = Url::parse("http://8.8.8.8/").unwrap();
        let refused = Guard::PublicOnly.connect(&url).await;
        assert!(matches!(refused, Err(ConnectError::Forbidden(GuardError::Scheme(_)))));
    }

    #[tokio::test]
    async fn the_operator_may_allow_loopback() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        assert!(Guard::AllowAll.connect(&url).await.is_ok());
    }
}
