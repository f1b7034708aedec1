//! The certificate of a Secret, checked before a reverse proxy gets it.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::redact::Secret;

/// A certificate with its chain and key, in PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    chain: String,
    key: Secret,
    claimed: Vec<String>,
    not_after: i64,
}

/// Why a certificate cannot be used; the text continues the name of the Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// `tls.crt` is not PEM, or holds no certificate.
    #[error("has no certificate in tls.crt: create it with kubectl create secret tls")]
    NoCertificate,
    /// `tls.key` is not a private key.
    #[error("has no private key in tls.key: create it with kubectl create secret tls")]
    NoKey,
    /// The key belongs to another certificate.
    #[error("has a key that does not belong to its certificate: put both of one pair into it")]
    KeyMismatch,
    /// The certificate is for other hosts.
    #[error("has a certificate for {names}, not for {host}: use one that has the host")]
    OtherHost {
        /// The names in it.
        names: String,
        /// The host of the route.
        host: String,
    },
}

impl Certificate {
    /// Reads `tls.crt` and `tls.key` for this host.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read(chain: &[u8], key: &Secret, host: &str) -> Result<Self, CertificateError> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::NoCertificate)?;
        let first = certificates.first().ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| CertificateError::NoCertificate)?;
        let names = names(&parsed);
        let claimed = claimed(&names, &parsed);
        let not_after = parsed.validity().not_after.timestamp();
        let private = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| CertificateError::NoKey)?;
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        CertifiedKey::from_der(certificates.clone(), private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::KeyMismatch,
            _ => CertificateError::NoKey,
        })?;
        if !names.iter().any(|name| serves(name, host)) {
            return Err(CertificateError::OtherHost {
                names: if names.is_empty() {
                    "no host".to_owned()
                } else {
                    names.join(", ")
                },
                host: host.to_owned(),
            });
        }
        Ok(Self {
            chain: String::from_utf8_lossy(chain).into_owned(),
            key: key.clone(),
            claimed,
            not_after,
        })
    }

    /// The names under which a reverse proxy may show it: the hosts that it is for, and the common name, which clients ignore
    /// and Traefik does not.
    pub fn claimed(&self) -> &[String] {
        &self.claimed
    }

    /// The certificate and its chain, in PEM.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// The key, in PEM.
    pub fn key(&self) -> &Secret {
        &self.key
    }

    /// When it expires, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

/// Reports whether a certificate is for a host.
pub fn is_for(certificate: &X509Certificate<'_>, host: &str) -> bool {
    names(certificate).iter().any(|name| serves(name, host))
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = extension.map(|extension| &extension.value.general_names);
    let names = all.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

/// The names that Traefik reads: it takes the common name too, divides names at commas, and ignores dots at their end.
fn claimed(names: &[String], certificate: &X509Certificate<'_>) -> Vec<String> {
    let common = certificate.subject().iter_common_name().map(|name| {
        // Of two or four bytes for each letter, zeros are left out.
        let text = String::from_utf8_lossy(name.as_slice()).replace('\0', "");
        // Traefik makes i of İ, without the dot that is left here.
        text.to_lowercase().replace('\u{307}', "")
    });
    let mut claimed = Vec::new();
    for name in names.iter().cloned().chain(common) {
        let parts = name.split(',').map(|part| part.trim().trim_end_matches('.'));
        claimed.extend(parts.map(str::to_owned));
    }
    claimed
}

/// Reports whether a name in a certificate is good for a host or a wildcard.
fn serves(name: &str, host: &str) -> bool {
    name == host
        || name.strip_prefix("*.").is_some_and(|domain| {
            let rest = host.split_once('.');
            rest.is_some_and(|(label, rest)| rest == domain && label != "*")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> (String, Secret) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), Secret::from(made.signing_key.serialize_pem()))
    }

    #[test]
    fn common_name_is_claimed_and_serves_no_host() {
        for (common, claimed) in [
            ("TLS.test", &["tls.test"][..]),
            ("*.Other.test.", &["*.other.test"]),
            ("x,tls.test", &["x", "tls.test"]),
            ("\u{212a}.test", &["k.test"]),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut request = rcgen::CertificateParams::new(vec!["mine.test".to_owned()]).unwrap();
            request.distinguished_name.push(rcgen::DnType::CommonName, common);
            let chain = request.self_signed(&key).unwrap().pem();
            let key = Secret::from(key.serialize_pem());
            let read = Certificate::read(chain.as_bytes(), &key, "mine.test").unwrap();
            assert_eq!(read.claimed()[0], "mine.test");
            assert_eq!(&read.claimed()[1..], claimed, "{common}");
            let other = Certificate::read(chain.as_bytes(), &key, "tls.test");
            assert!(
                matches!(other, Err(CertificateError::OtherHost { .. })),
                "{other:?}"
            );
        }
    }

    #[test]
    fn certificate_must_be_for_the_host_and_have_its_key() {
        for (names, host, good) in [
            (&["shop.example.com"][..], "shop.example.com", true),
            (&["a.example.com", "SHOP.example.com"], "shop.example.com", true),
            (&["*.example.com"], "shop.example.com", true),
            (&["*.example.com"], "*.example.com", true),
            (&["*.example.com"], "a.shop.example.com", false),
            (&["*.example.com"], "example.com", false),
            (&["shop.example.com"], "*.example.com", false),
            (&["other.example.com"], "shop.example.com", false),
        ] {
            let (chain, key) = pair(names);
            let read = Certificate::read(chain.as_bytes(), &key, host);
            assert_eq!(read.is_ok(), good, "{names:?} for {host}: {read:?}");
        }
        let ((chain, key), (_, other)) = (pair(&["x.example.com"]), pair(&["x.example.com"]));
        let read =
            |chain: &str, key: &Secret| Certificate::read(chain.as_bytes(), key, "x.example.com").map(|_| ());
        assert_eq!(read(&chain, &key), Ok(()));
        assert_eq!(read(&chain, &other), Err(CertificateError::KeyMismatch));
        assert_eq!(read("no", &key), Err(CertificateError::NoCertificate));
        assert_eq!(read(&chain, &Secret::from("no")), Err(CertificateError::NoKey));
    }
}
