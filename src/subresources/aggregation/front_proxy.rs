//! How the API server signs in at an extension server, and how it names the user. Pure.

use std::collections::BTreeMap;

use http::HeaderMap;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The API server's front proxy.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// The authorities that sign its certificate.
    pub roots: RootCertStore,
    /// The common names that its certificate may have; any if empty.
    names: Vec<String>,
    user: Vec<String>,
    uid: Vec<String>,
    groups: Vec<String>,
    extra: Vec<String>,
}

/// The user of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User {
    /// The name.
    pub name: String,
    /// The unique ID, if the API server reports it.
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the API server knows of the user.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl FrontProxy {
    /// Reads the data of the ConfigMap.
    ///
    /// # Errors
    /// The message names what is missing or not safe.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let list = |key: &str| -> Result<Vec<String>, String> {
            let text = data.get(key).map_or("[]", String::as_str);
            serde_json::from_str(text)
                .map_err(|error| format!("{key} of its ConfigMap is not a list: {error}"))
        };
        let key = "requestheader-client-ca-file";
        let Some(authority) = data.get(key).filter(|text| !text.trim().is_empty()) else {
            return Err(format!(
                "the API server publishes no {key}, so it has no aggregation: set its --requestheader-client-ca-file"
            ));
        };
        let names = list("requestheader-allowed-names")?;
        let clients = data.get("client-ca-file");
        if names.is_empty() && clients.is_some_and(|clients| clients.trim() == authority.trim()) {
            return Err(
                "the API server signs users and its front proxy with one authority and names no allowed certificate, so every \
                 user could pose as another one: set its --requestheader-allowed-names"
                    .to_owned(),
            );
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("{key} of its ConfigMap: {error}"))?;
            roots
                .add(certificate)
                .map_err(|error| format!("{key} of its ConfigMap: {error}"))?;
        }
        if roots.is_empty() {
            return Err(format!("{key} of its ConfigMap has no certificate"));
        }
        Ok(Self {
            roots,
            names,
            user: list("requestheader-username-headers")?,
            uid: list("requestheader-uid-headers")?,
            groups: list("requestheader-group-headers")?,
            extra: list("requestheader-extra-headers-prefix")?,
        })
    }

    /// Whether a certificate of the authority, by its common name, is that of the front proxy.
    pub fn is_allowed(&self, common_name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == common_name)
    }

    /// The user that the front proxy names; `None` if it names none.
    pub fn user(&self, headers: &HeaderMap) -> Option<User> {
        let values = |names: &[String]| -> Vec<String> {
            let all = names.iter().flat_map(|name| headers.get_all(name));
            all.filter_map(|value| Some(value.to_str().ok()?.to_owned()))
                .collect()
        };
        let first = |names: &[String]| values(names).into_iter().find(|value| !value.is_empty());
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in self.extra.iter().map(|prefix| prefix.to_lowercase()) {
            for (name, value) in headers {
                let key = name.as_str().strip_prefix(&prefix).map(percent_decoded);
                if let (Some(key), Ok(value)) = (key, value.to_str()) {
                    extra.entry(key).or_default().push(value.to_owned());
                }
            }
        }
        Some(User {
            name: first(&self.user)?,
            uid: first(&self.uid),
            groups: values(&self.groups),
            extra,
        })
    }
}

/// The text with `%XX` decoded; invalid sequences stay.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = (*byte == b'%').then(|| after.get(..2)).flatten();
        let decoded = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(decoded) = decoded {
            bytes.push(decoded);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn data(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn authority() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn front_proxy_that_is_absent_or_unsafe_is_refused() {
        let own = authority();
        let ca = ("requestheader-client-ca-file", own.as_str());
        for (rows, expected) in [
            (vec![], "has no aggregation"),
            (
                vec![("requestheader-client-ca-file", "text")],
                "has no certificate",
            ),
            (
                vec![ca, ("client-ca-file", own.as_str())],
                "every user could pose",
            ),
            (vec![ca, ("requestheader-allowed-names", "x")], "is not a list"),
        ] {
            let refused = FrontProxy::read(&data(&rows)).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let named = data(&[
            ca,
            ("client-ca-file", own.as_str()),
            ("requestheader-allowed-names", "[\"proxy\"]"),
        ]);
        let proxy = FrontProxy::read(&named).unwrap();
        assert!(proxy.is_allowed("proxy") && !proxy.is_allowed("jane"));
        let any = FrontProxy::read(&data(&[ca, ("client-ca-file", "another")])).unwrap();
        assert!(any.is_allowed("any"));
    }

    #[test]
    fn user_is_read_from_the_headers_that_the_api_server_names() {
        let own = authority();
        let proxy = FrontProxy::read(&data(&[
            ("requestheader-client-ca-file", own.as_str()),
            ("requestheader-username-headers", "[\"X-Remote-User\"]"),
            ("requestheader-group-headers", "[\"X-Remote-Group\"]"),
            ("requestheader-extra-headers-prefix", "[\"X-Remote-Extra-\"]"),
        ]))
        .unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(proxy.user(&headers), None);
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-group", "staff"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-example.com%2fscopes", "a"),
            ("x-remote-extra-example.com%2fscopes", "b"),
            ("x-remote-uid", "forged"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let expected = User {
            name: "jane".to_owned(),
            // The API server does not name a header for it, so it may be the client's.
            uid: None,
            groups: vec!["staff".to_owned(), "system:authenticated".to_owned()],
            extra: BTreeMap::from([(
                "example.com/scopes".to_owned(),
                vec!["a".to_owned(), "b".to_owned()],
            )]),
        };
        assert_eq!(proxy.user(&headers), Some(expected));
    }
}
