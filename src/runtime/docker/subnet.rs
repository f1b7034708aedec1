//! Subnets of IPv4.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use rand::Rng as _;

/// A subnet of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    bits: u32,
}

impl Subnet {
    /// Parses `ADDRESS/BITS`. `None` for IPv6, and for subnets that are too small.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let (base, bits) = (base.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        (8..=29).contains(&bits).then(|| Self {
            base: base.to_bits(),
            bits,
        })
    }

    fn half(self) -> u32 {
        1 << (31 - self.bits)
    }

    /// The half from which the engine allocates by itself.
    pub fn lower(self) -> String {
        format!("{}/{}", Ipv4Addr::from_bits(self.base), self.bits + 1)
    }

    /// An address of the upper half that is not taken: any, so that one that was just given back is not soon another's.
    pub fn free(self, taken: &HashSet<String>) -> Option<String> {
        // Without the broadcast address at the end.
        let size = self.half() - 1;
        let start = rand::rng().random_range(0..size);
        (0..size)
            .map(|offset| Ipv4Addr::from_bits(self.base + self.half() + (start + offset) % size).to_string())
            .find(|ip| !taken.contains(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_upper_half_until_it_is_full() {
        let subnet = Subnet::parse("172.18.0.0/16").unwrap();
        assert_eq!(subnet.lower(), "172.18.0.0/17");
        let subnet = Subnet::parse("10.0.0.8/29").unwrap();
        assert_eq!(subnet.lower(), "10.0.0.8/30");
        let mut taken = HashSet::new();
        while let Some(ip) = subnet.free(&taken) {
            assert!(taken.insert(ip));
        }
        let all = ["10.0.0.12", "10.0.0.13", "10.0.0.14"].map(str::to_owned);
        assert_eq!(taken, all.into());
        assert_eq!(Subnet::parse("fd00::/64"), None);
        assert_eq!(Subnet::parse("10.0.0.0/30"), None);
    }
}
