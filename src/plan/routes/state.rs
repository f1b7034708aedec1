//! What is known of routes at the reverse proxy.

use crate::proxy::Refusal;

/// What is known of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// It is left out.
    Refused(Refusal),
    /// The proxy has not loaded it yet.
    Pending,
    /// The proxy refuses it with these words.
    RefusedByProxy(String),
    /// The proxy does not answer, or its configuration cannot be written.
    Unreachable(String),
    /// It is written, and the proxy is not observed.
    Unobserved,
    /// The proxy has loaded it.
    Loaded {
        /// Whether an answer was seen at its address. `None`: not observed yet.
        answer: Option<Answer>,
    },
}

/// What a request to the address of a route came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The Application answered.
    Answered {
        /// The end of the certificate, over TLS.
        expires: Option<Expiry>,
    },
    /// No request was sent. The certificate is there, and has this end.
    Certified {
        /// The end of the certificate.
        expires: Expiry,
    },
    /// The answer is 404, as the proxy answers for hosts without a route.
    Unclear,
    /// The proxy has no certificate for the host.
    DefaultCertificate(NoCertificate),
    /// No answer, or one that the proxy itself gave for a replica that does not answer.
    None(String),
}

/// The time of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// From when on it is valid.
    pub from: i64,
    /// When it expires.
    pub at: i64,
    /// From when on it should have been renewed.
    pub soon: i64,
}

impl Expiry {
    /// The end of a certificate of this time: Traefik renews one of 90 days 30 days before its end, and shorter ones later.
    pub fn new(not_before: i64, not_after: i64) -> Self {
        const LONGEST: i64 = 14 * 24 * 60 * 60;
        let lifetime = not_after.saturating_sub(not_before);
        Self {
            from: not_before,
            at: not_after,
            soon: not_after.saturating_sub(LONGEST.min(lifetime / 5)),
        }
    }
}

/// Why a resolver has no certificate, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCertificate {
    /// Not known.
    Unknown,
    /// The name leads elsewhere, in words.
    Elsewhere(String),
    /// The words of the certificate authority.
    Refused(String),
    /// cert-manager has issued none.
    OfManager {
        /// Why, in its words.
        words: String,
        /// Whether the issuer has refused it.
        is_refused: bool,
    },
}

/// The name of the reverse proxy on a Docker Engine, in messages.
pub const TRAEFIK: &str = "Traefik";

/// What the reverse proxy is to this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyView {
    /// The installation has no proxy.
    Missing,
    /// It has one.
    Routes {
        /// The state of each route of the Application, in the order of the spec.
        states: Vec<RouteState>,
        /// The public ports of HTTP and HTTPS, if they are not the usual ones.
        ports: [Option<u16>; 2],
        /// Its name in messages.
        proxy: &'static str,
    },
}
