//! The server's own certificates: an authority, a server certificate, and a client certificate for the administrator.
//!
//! They live in one directory, every file with mode 0600. The server certificate is made anew when it is about to
//! expire or when it does not name the address that is listened on; the authority stays, so that kubeconfigs stay good.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::identity::MASTERS;

/// How long the authority is valid.
const AUTHORITY: Duration = Duration::from_hours(3650 * 24);
/// How long the certificates that it signs are valid.
const LEAF: Duration = Duration::from_hours(365 * 24);
/// A certificate with less time than this left is made anew.
const RENEW: Duration = Duration::from_hours(30 * 24);
/// The name of the administrator's certificate.
const ADMIN: &str = "kubernetes-admin";

/// Why the certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("could not use {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate could not be made, or a key could not be read.
    #[error("could not make a certificate")]
    Make(#[from] rcgen::Error),
    /// A file holds something else.
    #[error("{0:?} holds no certificate or key: remove it, and it is made anew")]
    Shape(PathBuf),
    /// TLS would not take them.
    #[error("TLS does not take the certificates")]
    Tls(#[from] rustls::Error),
}

/// A certificate and its key as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// The authority and what it signed.
pub struct Pki {
    directory: Option<PathBuf>,
    authority: Pair,
    admin: Pair,
}

impl Pki {
    /// Reads what is in `directory` and makes what is not there; without a directory everything is made and forgotten.
    pub fn open(directory: Option<&Path>) -> Result<Self, PkiError> {
        if let Some(directory) = directory {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|source| PkiError::File {
                    path: directory.to_owned(),
                    source,
                })?;
        }
        let authority = stored(directory, "ca", |_| true, make_authority)?;
        let sign = || {
            leaf(
                &authority,
                ADMIN,
                Some(MASTERS),
                &[],
                ExtendedKeyUsagePurpose::ClientAuth,
            )
        };
        let admin = stored(directory, "admin", is_fresh, sign)?;
        Ok(Self {
            directory: directory.map(Path::to_owned),
            authority,
            admin,
        })
    }

    /// The authority's certificate.
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// The administrator's certificate and key.
    pub fn admin(&self) -> &Pair {
        &self.admin
    }

    /// What a server on `address` needs for TLS: client certificates of the authority are asked for, not required.
    pub fn server(&self, address: IpAddr) -> Result<rustls::ServerConfig, PkiError> {
        let names = server_names(address);
        let fits = |certificate: &str| is_fresh(certificate) && names_all(certificate, &names);
        let sign = || {
            leaf(
                &self.authority,
                "kube-apiserver",
                None,
                &names,
                ExtendedKeyUsagePurpose::ServerAuth,
            )
        };
        let pair = stored(self.directory.as_deref(), "server", fits, sign)?;
        let shape = |what: &str| PkiError::Shape(what.into());
        let chain = vec![
            CertificateDer::from_pem_slice(pair.certificate.as_bytes()).map_err(|_| shape("server.crt"))?,
        ];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|_| shape("server.key"))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_slice(self.authority.certificate.as_bytes())
                .map_err(|_| shape("ca.crt"))?,
        )?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn stored(
    directory: Option<&Path>,
    name: &str,
    fits: impl Fn(&str) -> bool,
    make: impl Fn() -> Result<Pair, PkiError>,
) -> Result<Pair, PkiError> {
    let Some(directory) = directory else { return make() };
    let (certificate, key) = (
        directory.join(format!("{name}.crt")),
        directory.join(format!("{name}.key")),
    );
    if let (Some(certificate), Some(key)) = (read(&certificate)?, read(&key)?)
        && fits(&certificate)
    {
        return Ok(Pair { certificate, key });
    }
    let made = make()?;
    write(&key, &made.key)?;
    write(&certificate, &made.certificate)?;
    Ok(made)
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Replaces a file at once, so that a crash leaves the old or the new one.
fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let failed = |source| PkiError::File {
        path: path.to_owned(),
        source,
    };
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

fn params(name: &str, organisation: Option<&str>, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organisation) = organisation {
        subject.push(DnType::OrganizationName, organisation);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    // An hour of grace for clocks that are behind.
    params.not_before = (SystemTime::now() - Duration::from_hours(1)).into();
    params.not_after = (SystemTime::now() + life).into();
    params
}

fn make_authority() -> Result<Pair, PkiError> {
    let key = KeyPair::generate()?;
    let mut params = params("kubernetes", None, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn leaf(
    authority: &Pair,
    name: &str,
    organisation: Option<&str>,
    names: &[SanType],
    usage: ExtendedKeyUsagePurpose,
) -> Result<Pair, PkiError> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = params(name, organisation, LEAF);
    params.subject_alt_names = names.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn server_names(address: IpAddr) -> Vec<SanType> {
    let dns = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: Vec<SanType> = dns
        .iter()
        .filter_map(|name| (*name).try_into().ok().map(SanType::DnsName))
        .collect();
    let mut addresses = vec![
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    ];
    if !address.is_unspecified() && !addresses.contains(&address) {
        addresses.push(address);
    }
    names.extend(addresses.into_iter().map(SanType::IpAddress));
    names
}

fn parsed<T>(pem: &str, ask: impl Fn(&x509_parser::certificate::X509Certificate<'_>) -> T) -> Option<T> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    Some(ask(&certificate))
}

/// Whether a certificate will last a while.
fn is_fresh(pem: &str) -> bool {
    let renew = i64::try_from(RENEW.as_secs()).unwrap_or(i64::MAX);
    let until = parsed(pem, |certificate| certificate.validity().not_after.timestamp()).unwrap_or_default();
    jiff::Timestamp::now().as_second().saturating_add(renew) < until
}

fn names_all(pem: &str, names: &[SanType]) -> bool {
    use x509_parser::extensions::GeneralName;
    parsed(pem, |certificate| {
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return false;
        };
        names.iter().all(|name| {
            extension
                .value
                .general_names
                .iter()
                .any(|known| match (name, known) {
                    (SanType::DnsName(name), GeneralName::DNSName(known)) => name.as_str() == *known,
                    (SanType::IpAddress(IpAddr::V4(address)), GeneralName::IPAddress(known)) => {
                        address.octets() == *known
                    }
                    (SanType::IpAddress(IpAddr::V6(address)), GeneralName::IPAddress(known)) => {
                        address.octets() == *known
                    }
                    _ => false,
                })
        })
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_kept_and_renewed_when_the_address_changes() {
        let directory = tempfile::tempdir().unwrap();
        let local = IpAddr::from([127, 0, 0, 1]);
        let first = Pki::open(Some(directory.path())).unwrap();
        first.server(local).unwrap();
        let file = directory.path().join("server.crt");
        let before = fs::read_to_string(&file).unwrap();
        let second = Pki::open(Some(directory.path())).unwrap();
        second.server(local).unwrap();
        assert_eq!(first.authority(), second.authority());
        assert_eq!(first.admin().certificate, second.admin().certificate);
        assert_eq!(before, fs::read_to_string(&file).unwrap());
        second.server(IpAddr::from([192, 0, 2, 7])).unwrap();
        assert_ne!(before, fs::read_to_string(&file).unwrap());
    }

    #[test]
    fn keys_are_nobody_elses() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        Pki::open(Some(directory.path())).unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            assert_eq!(
                entry.unwrap().metadata().unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }
}
