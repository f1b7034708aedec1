//! The connections of the proxy, as the kernel lists them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The states in which a request may be under way: established, and a first packet that was not answered yet.
const UNDER_WAY: [&str; 2] = ["01", "02"];

/// Returns the addresses that the processes in the network of this process are connected to, or are connecting to; of Davit's
/// own network without a process. Those over IPv6 are read if `v6`: the kernel walks through a table of all sockets of the machine for each
/// of both. `None` if the kernel does not list them, as for a process on another machine.
pub fn read(process: Option<u32>, v6: bool) -> Option<BTreeSet<IpAddr>> {
    let process = process.map_or_else(|| "self".to_owned(), |process| process.to_string());
    let mut found = BTreeSet::new();
    add(&format!("/proc/{process}/net/tcp"), &mut found).ok()?;
    if !v6 {
        return Some(found);
    }
    // A machine without IPv6 has no such file.
    add(&format!("/proc/{process}/net/tcp6"), &mut found)
        .or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Ok(())
            } else {
                Err(error)
            }
        })
        .ok()?;
    Some(found)
}

fn add(path: &str, found: &mut BTreeSet<IpAddr>) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    // A busy proxy has tens of thousands of closed connections here: none of the lines is kept.
    let mut line = String::new();
    while file.read_line(&mut line)? > 0 {
        found.extend(peer(&line));
        line.clear();
    }
    Ok(())
}

/// Returns the other end of a connection that a request may be under way on.
fn peer(line: &str) -> Option<IpAddr> {
    let mut columns = line.split_ascii_whitespace().skip(2);
    let (peer, state) = (columns.next()?, columns.next()?);
    if !UNDER_WAY.contains(&state) {
        return None;
    }
    let (address, _) = peer.split_once(':')?;
    // Each word has the byte order of the machine.
    let word = |at: usize| {
        u32::from_str_radix(address.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    match address.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_connections_with_a_request_count() {
        let line = |peer: &str, state: &str| {
            format!(
                "   1: 0100007F:1F90 {peer} {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20"
            )
        };
        let mapped = "0000000000000000FFFF0000020011AC:0050";
        for (peer_, state, address) in [
            ("020011AC:0050", "01", Some("172.17.0.2")),
            ("020011AC:0050", "02", Some("172.17.0.2")),
            ("020011AC:0050", "06", None),
            ("00000000:0000", "0A", None),
            (mapped, "01", Some("172.17.0.2")),
            ("000080FE000000000000000001000000:0050", "01", Some("fe80::1")),
        ] {
            let found = peer(&line(peer_, state));
            assert_eq!(
                found,
                address.map(|address| address.parse().unwrap()),
                "{peer_} {state}"
            );
        }
        assert_eq!(peer("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(peer(""), None);
    }

    #[test]
    fn connection_is_seen_while_it_is_open() {
        // An address of its own, since other tests connect to 127.0.0.1.
        let place: IpAddr = "127.77.3.9".parse().unwrap();
        let listener = TcpListener::bind((place, 0)).unwrap();
        assert!(!read(None, false).unwrap().contains(&place));
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(read(Some(std::process::id()), true).unwrap().contains(&place));
        drop((client, listener));
        assert_eq!(read(Some(u32::MAX), true), None);
    }
}
