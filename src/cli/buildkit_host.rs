//! The value of `--buildkit-host`.

/// Checks an address of a buildkitd. Over the network it needs TLS, which [`needs_tls`] reports.
///
/// # Errors
/// Another scheme than `unix` and `tcp`, a relative path, or no port.
pub fn buildkit_host(text: &str) -> Result<String, String> {
    let good = match text.split_once("://") {
        Some(("unix", path)) => path.starts_with('/'),
        Some(("tcp", address)) => address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
        _ => false,
    };
    if good {
        Ok(text.to_owned())
    } else {
        Err("write unix:///path or tcp://host:port".to_owned())
    }
}

/// Reports whether an address is reached over a network, where everybody could build without a certificate.
pub fn needs_tls(host: &str) -> bool {
    let Some(address) = host.strip_prefix("tcp://") else {
        return false;
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_buildkitd_is_checked() {
        for (text, valid, tls) in [
            ("unix:///run/buildkit/buildkitd.sock", true, false),
            ("tcp://127.0.0.1:1234", true, false),
            ("tcp://[::1]:1234", true, false),
            ("tcp://localhost:1234", true, false),
            ("tcp://build.example.com:1234", true, true),
            ("tcp://10.0.0.7:1234", true, true),
            ("tcp://build.example.com", false, true),
            ("unix://run", false, false),
            ("ssh://host", false, false),
        ] {
            assert_eq!(buildkit_host(text).is_ok(), valid, "{text}");
            assert_eq!(needs_tls(text), tls, "{text}");
        }
    }
}
