//! The certificate of the listener, and the authority that signs it. Both are made at each start and kept in memory only.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// A certificate and its authority.
pub struct Certificate {
    /// The authority, in PEM form, for the `caBundle` of the APIService.
    pub authority: String,
    /// Certificate and key of the listener.
    pub identity: Arc<CertifiedKey>,
}

impl Certificate {
    /// A certificate for this name.
    ///
    /// # Errors
    /// The name cannot be in a certificate.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "davit aggregated API");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate()?;
        let authority = params.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "davit");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate: CertificateDer<'static> = params.signed_by(&key, &issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider =
            CryptoProvider::get_default().ok_or_else(|| anyhow::anyhow!("no cryptography was chosen"))?;
        let key = provider.key_provider.load_private_key(key)?;
        Ok(Self {
            authority,
            identity: Arc::new(CertifiedKey::new(vec![certificate], key)),
        })
    }
}
