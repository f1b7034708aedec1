//! A container's ports, and where on the machine they are.

use std::fmt;
use std::net::IpAddr;

use crate::api::Protocol;

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the spec, to which routes and health checks refer.
    pub name: Option<String>,
    /// The port in the container.
    pub container: u16,
    /// The port of the machine, if it is published there.
    pub host: Option<u16>,
    /// The address of the machine. `None`: all addresses.
    pub host_ip: Option<String>,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl Port {
    /// True where the machine cannot have both: one port of one protocol, at an address that both have.
    pub fn excludes(&self, other: &Self) -> bool {
        let at = |port: &Self| port.host_ip.as_deref().and_then(specific);
        let both = match (at(self), at(other)) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        both && self.host.is_some() && self.host == other.host && self.protocol == other.protocol
    }

    /// Its place on the machine, for a message.
    pub fn place(&self) -> Place<'_> {
        Place(self)
    }
}

/// The address, unless it stands for all of them, as no address and 0.0.0.0 do: what listens at `::` mostly has those of
/// both families.
pub fn specific(address: &str) -> Option<IpAddr> {
    let address: IpAddr = address.parse().ok()?;
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

/// A [`Port`]'s place on the machine, as `127.0.0.1:53/UDP`; without the address where it has all, and without TCP.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a>(&'a Port);

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.host_ip.as_deref().and_then(specific) {
            Some(IpAddr::V6(address)) => write!(out, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(out, "{address}:")?,
            None => {}
        }
        write!(out, "{}", self.0.host.unwrap_or_default())?;
        match self.0.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => out.write_str("/UDP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host_ip: Option<&str>, host: u16, protocol: Protocol) -> Port {
        Port {
            name: None,
            container: 80,
            host: Some(host),
            host_ip: host_ip.map(str::to_owned),
            protocol,
        }
    }

    #[test]
    fn a_port_is_had_once_at_each_address() {
        use Protocol::{Tcp, Udp};
        for (one, other, excluded) in [
            (Some("127.0.0.1"), Some("127.0.0.1"), true),
            (Some("127.0.0.1"), Some("127.0.0.2"), false),
            (Some("127.0.0.1"), Some("::1"), false),
            (Some("::1"), Some("0:0:0:0:0:0:0:1"), true),
            (Some("127.0.0.1"), Some("::ffff:127.0.0.1"), true),
            (Some("127.0.0.1"), None, true),
            (Some("127.0.0.1"), Some("0.0.0.0"), true),
            (Some("127.0.0.1"), Some("::"), true),
            (Some("::"), Some("0.0.0.0"), true),
            (Some(""), Some("::1"), true),
            (None, None, true),
        ] {
            let both = [at(one, 8080, Tcp), at(other, 8080, Tcp)];
            for (one, other) in [(&both[0], &both[1]), (&both[1], &both[0])] {
                assert_eq!(one.excludes(other), excluded, "{both:?}");
            }
            assert!(!both[0].excludes(&at(other, 8081, Tcp)), "{both:?}");
            assert!(!both[0].excludes(&at(other, 8080, Udp)), "{both:?}");
        }
        let inside = Port {
            host: None,
            ..at(None, 1, Tcp)
        };
        assert!(!inside.excludes(&inside));
    }

    #[test]
    fn a_place_is_written_as_others_write_it() {
        for (ip, protocol, text) in [
            (Some("127.0.0.1"), Protocol::Tcp, "127.0.0.1:80"),
            (Some("::1"), Protocol::Udp, "[::1]:80/UDP"),
            (Some("0.0.0.0"), Protocol::Tcp, "80"),
            (None, Protocol::Tcp, "80"),
        ] {
            assert_eq!(at(ip, 80, protocol).place().to_string(), text);
        }
    }
}
