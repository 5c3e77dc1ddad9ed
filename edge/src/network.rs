//! Whom an address stands for, where clients are counted.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of an IPv6 address that one customer of a provider has to himself.
const OWN_BITS: u32 = 64;

/// An IPv4 address, or the /64 network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    /// That of a peer. `None` for loopback: all of this machine is one address, and so is everybody behind a proxy on it.
    pub(crate) fn of(peer: IpAddr) -> Option<Self> {
        match peer.to_canonical() {
            peer if peer.is_loopback() => None,
            IpAddr::V6(peer) => {
                Some(Self(IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> OWN_BITS << OWN_BITS))))
            }
            peer @ IpAddr::V4(_) => Some(Self(peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_are_one_network_and_loopback_is_nobodys() {
        let of = |text: &str| Network::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!([of("127.0.0.1"), of("::1"), of("::ffff:127.0.0.2")], [None; 3]);
    }
}
