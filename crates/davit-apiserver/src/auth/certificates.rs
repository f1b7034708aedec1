//! How certificates are made and read: an authority, what it signs, and whether one still serves.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// How long an authority is valid.
const AUTHORITY: Duration = Duration::from_hours(3650 * 24);
/// How long the certificates that it signs are valid.
pub const LEAF: Duration = Duration::from_hours(365 * 24);
/// A certificate with less time than this left is made anew.
pub const RENEW: Duration = Duration::from_hours(30 * 24);
/// How much earlier a certificate begins, for clocks that are behind.
const GRACE: Duration = Duration::from_hours(1);

/// A certificate and its key as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// What an authority signs.
pub struct Leaf {
    /// The subject's common name: the user name.
    pub name: &'static str,
    /// The subject's organisation: the group of a user.
    pub organisation: Option<&'static str>,
    /// The names and addresses of a server.
    pub names: Vec<SanType>,
    /// Whether it is a server's or a client's.
    pub usage: ExtendedKeyUsagePurpose,
}

impl Leaf {
    /// Has `authority` sign a new one that begins `now`.
    pub fn signed_by(&self, authority: &Pair, now: SystemTime) -> Result<Pair, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = params(self.name, self.organisation, now, LEAF);
        params.subject_alt_names.clone_from(&self.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Whether a certificate names all that this one does.
    pub fn is_named_by(&self, pem: &str) -> bool {
        self.names.is_empty() || names_all(pem, &self.names)
    }
}

fn params(name: &str, organisation: Option<&str>, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organisation) = organisation {
        subject.push(DnType::OrganizationName, organisation);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = (now - GRACE).into();
    params.not_after = (now + life).into();
    params
}

/// A new authority, which signs itself.
pub fn make_authority(now: SystemTime) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params("kubernetes", None, now, AUTHORITY);
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

/// What a server on `address` is called.
pub fn server_names(address: IpAddr) -> Vec<SanType> {
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

/// Whether a certificate has begun and lasts longer than `left`. One that has not begun was made while the clock was
/// wrong.
pub fn lasts(pem: &str, now: SystemTime, left: Duration) -> bool {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    parsed(pem, |certificate| {
        let period = certificate.validity();
        period.not_before.timestamp() <= seconds(now) && seconds(now + left) < period.not_after.timestamp()
    })
    .unwrap_or_default()
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
