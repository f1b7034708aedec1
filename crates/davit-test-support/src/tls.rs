//! A certificate authority for one test, which no machine trusts by default.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The authority's certificate and a server certificate for `127.0.0.1` and `localhost`, as PEM files.
pub struct TestCa {
    /// The authority's certificate as PEM text: what a user would put in a Secret.
    pub ca_pem: String,
    /// The same in a file.
    pub ca_file: PathBuf,
    /// The server's certificate.
    pub cert_file: PathBuf,
    /// The server's key.
    pub key_file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    /// Creates the authority and the certificate, with files in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self::for_names(dir, &["127.0.0.1", "localhost"])
    }

    /// The same for a server with these names and addresses.
    pub fn for_names(dir: &Path, names: &[&str]) -> Self {
        let mut ca = CertificateParams::default();
        ca.distinguished_name
            .push(DnType::CommonName, "an authority for one test");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);

        let mut server =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let server_key = KeyPair::generate().unwrap();
        let cert = server.signed_by(&server_key, &issuer).unwrap();

        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            ca_file: file("ca.pem", &ca_pem),
            cert_file: file("server.pem", &cert.pem()),
            key_file: file("server.key", &server_key.serialize_pem()),
            ca_pem,
            issuer,
        }
    }

    /// A certificate and its key, as PEM text, for a client with this common name.
    pub fn client(&self, common_name: &str) -> (String, String) {
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, common_name);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = client.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
