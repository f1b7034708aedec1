//! The server's own certificates: an authority, a server certificate, and a client certificate for the administrator.
//!
//! They live in one directory, every file with mode 0600. The server certificate is made anew when it is about to
//! expire, also while it serves, or when it does not name the address that is listened on; the authority stays, so that
//! kubeconfigs stay good.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};

use super::{
    certificates::{LEAF, Leaf, Pair, RENEW, lasts, make_authority, server_names},
    identity::MASTERS,
};

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

/// What time it is; another one in tests.
type Clock = fn() -> SystemTime;

/// The authority and what it signed.
pub struct Pki {
    directory: Option<PathBuf>,
    clock: Clock,
    authority: Arc<Pair>,
    admin: Kept,
}

impl Pki {
    /// Reads what is in `directory` and makes what is not there; without a directory everything is made and forgotten.
    pub fn open(directory: Option<&Path>) -> Result<Self, PkiError> {
        Self::open_at(directory, SystemTime::now)
    }

    fn open_at(directory: Option<&Path>, clock: Clock) -> Result<Self, PkiError> {
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
        let directory = directory.map(Path::to_owned);
        let authority = match directory.as_deref().map(|directory| read_pair(directory, "ca")) {
            Some(Ok(Some(authority))) => authority,
            Some(Err(error)) => return Err(error),
            Some(Ok(None)) | None => {
                let authority = make_authority(clock())?;
                write_pair(directory.as_deref(), "ca", &authority)?;
                authority
            }
        };
        // It is not made anew by itself: every kubeconfig names it.
        if !lasts(&authority.certificate, clock(), LEAF) {
            tracing::warn!(
                directory = ?directory,
                "the authority of the API server's certificates ends within a year, or has not begun: stop the server, \
                 remove ca.crt and ca.key, start it, and give out its kubeconfig anew"
            );
        }
        let authority = Arc::new(authority);
        let admin = Kept::open(
            directory.clone(),
            clock,
            authority.clone(),
            "admin",
            Leaf {
                name: ADMIN,
                organisation: Some(MASTERS),
                names: Vec::new(),
                usage: ExtendedKeyUsagePurpose::ClientAuth,
            },
        )?;
        Ok(Self {
            directory,
            clock,
            authority,
            admin,
        })
    }

    /// The authority's certificate.
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// The administrator's certificate and key, which last for 30 days at least.
    pub fn admin(&self) -> Arc<Pair> {
        self.admin.current()
    }

    /// What a server on `address` needs for TLS: client certificates of the authority are asked for, not required.
    pub fn server(&self, address: IpAddr) -> Result<rustls::ServerConfig, PkiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let kept = Kept::open(
            self.directory.clone(),
            self.clock,
            self.authority.clone(),
            "server",
            Leaf {
                name: "kube-apiserver",
                organisation: None,
                names: server_names(address),
                usage: ExtendedKeyUsagePurpose::ServerAuth,
            },
        )?;
        let pair = kept.current();
        let ready = certified(&pair, &provider)?;
        let serving = Serving {
            kept,
            provider: provider.clone(),
            ready: Mutex::new((pair, ready)),
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(
            CertificateDer::from_pem_slice(self.authority.certificate.as_bytes())
                .map_err(|_| PkiError::Shape("ca.crt".into()))?,
        )?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(serving));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A certificate that is renewed, when it is about to expire, by the next use.
struct Kept {
    directory: Option<PathBuf>,
    clock: Clock,
    authority: Arc<Pair>,
    file: &'static str,
    leaf: Leaf,
    pair: Mutex<Arc<Pair>>,
}

impl Kept {
    fn open(
        directory: Option<PathBuf>,
        clock: Clock,
        authority: Arc<Pair>,
        file: &'static str,
        leaf: Leaf,
    ) -> Result<Self, PkiError> {
        let stored = directory.as_deref().map(|directory| read_pair(directory, file));
        let fits =
            |pair: &Pair| lasts(&pair.certificate, clock(), RENEW) && leaf.is_named_by(&pair.certificate);
        let pair = if let Some(pair) = stored.transpose()?.flatten().filter(fits) {
            pair
        } else {
            let pair = leaf.signed_by(&authority, clock())?;
            write_pair(directory.as_deref(), file, &pair)?;
            pair
        };
        Ok(Self {
            directory,
            clock,
            authority,
            file,
            leaf,
            pair: Mutex::new(Arc::new(pair)),
        })
    }

    /// The certificate, made anew if it is time. One that could not be stored serves until the next start.
    fn current(&self) -> Arc<Pair> {
        let mut pair = self.pair.lock();
        if !lasts(&pair.certificate, (self.clock)(), RENEW) {
            match self.leaf.signed_by(&self.authority, (self.clock)()) {
                Ok(made) => {
                    if let Err(error) = write_pair(self.directory.as_deref(), self.file, &made) {
                        tracing::warn!(%error, certificate = self.file, "could not store a renewed certificate");
                    }
                    tracing::info!(certificate = self.file, "renewed");
                    *pair = Arc::new(made);
                }
                Err(error) => {
                    tracing::error!(%error, certificate = self.file, "could not renew a certificate");
                }
            }
        }
        pair.clone()
    }
}

/// Gives each connection the certificate of its time.
struct Serving {
    kept: Kept,
    provider: Arc<CryptoProvider>,
    /// As TLS wants it, and from what it was made.
    ready: Mutex<(Arc<Pair>, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pair = self.kept.current();
        let mut ready = self.ready.lock();
        if !Arc::ptr_eq(&ready.0, &pair) {
            match certified(&pair, &self.provider) {
                Ok(made) => *ready = (pair, made),
                Err(error) => {
                    tracing::error!(%error, "could not serve a renewed certificate");
                }
            }
        }
        Some(ready.1.clone())
    }
}

fn certified(pair: &Pair, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, PkiError> {
    let shape = |what: &str| PkiError::Shape(what.into());
    let chain =
        vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).map_err(|_| shape("server.crt"))?];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|_| shape("server.key"))?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

fn read_pair(directory: &Path, name: &str) -> Result<Option<Pair>, PkiError> {
    let certificate = read(&directory.join(format!("{name}.crt")))?;
    let key = read(&directory.join(format!("{name}.key")))?;
    Ok(certificate
        .zip(key)
        .map(|(certificate, key)| Pair { certificate, key }))
}

fn write_pair(directory: Option<&Path>, name: &str, pair: &Pair) -> Result<(), PkiError> {
    let Some(directory) = directory else { return Ok(()) };
    write(&directory.join(format!("{name}.key")), &pair.key)?;
    write(&directory.join(format!("{name}.crt")), &pair.certificate)
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };

    use super::*;

    const DAY: u64 = 24 * 3600;

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
    fn what_was_made_with_a_wrong_clock_is_made_anew() {
        fn in_three_years() -> SystemTime {
            SystemTime::now() + 3 * LEAF
        }
        let directory = tempfile::tempdir().unwrap();
        let wrong = Pki::open_at(Some(directory.path()), in_three_years).unwrap();
        let right = Pki::open(Some(directory.path())).unwrap();
        assert_ne!(wrong.admin().certificate, right.admin().certificate);
        assert_eq!(wrong.authority(), right.authority());
    }

    /// The clock of the next test: so many seconds from now.
    static AHEAD: AtomicU64 = AtomicU64::new(0);

    fn moved() -> SystemTime {
        SystemTime::now() + Duration::from_secs(AHEAD.load(Ordering::Relaxed))
    }

    #[derive(Debug)]
    struct Moved;

    impl rustls::time_provider::TimeProvider for Moved {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            let since = moved().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Some(rustls::pki_types::UnixTime::since_unix_epoch(since))
        }
    }

    /// A client of `server` that trusts `authority`, at the moved time: the certificate that it was shown.
    fn shake_hands(server: &Arc<rustls::ServerConfig>, authority: &str) -> Vec<u8> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(Moved))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client =
            rustls::ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
        let mut server = rustls::ServerConnection::new(server.clone()).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        client.peer_certificates().unwrap()[0].to_vec()
    }

    #[test]
    fn a_server_that_runs_for_years_can_still_be_reached() {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::open_at(Some(directory.path()), moved).unwrap();
        let server = Arc::new(pki.server(IpAddr::from([127, 0, 0, 1])).unwrap());
        let (first, admin) = (shake_hands(&server, pki.authority()), pki.admin());
        AHEAD.store(300 * DAY, Ordering::Relaxed);
        assert_eq!(first, shake_hands(&server, pki.authority()));
        assert!(Arc::ptr_eq(&admin, &pki.admin()));
        let mut seen = vec![first];
        for days in [340, 700, 1050] {
            AHEAD.store(days * DAY, Ordering::Relaxed);
            let shown = shake_hands(&server, pki.authority());
            assert!(!seen.contains(&shown), "not renewed after {days} days");
            assert_eq!(shown, shake_hands(&server, pki.authority()));
            seen.push(shown);
            let admin = pki.admin();
            assert!(lasts(&admin.certificate, moved(), RENEW));
            let stored = read_pair(directory.path(), "admin").unwrap().unwrap();
            assert_eq!(stored.certificate, admin.certificate);
        }
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
