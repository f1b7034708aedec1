//! The configuration in parts, one for each Application: a change of one costs no work for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::render::{Settings, add, add_api, claims, marker, shown, transport, transport_name};
use super::schema::{Http, TlsCertificate};
use super::text::{short, text};
use crate::model::AppId;
use crate::proxy::claims::Claims;
use crate::proxy::input::{AllRoutes, AppRoutes};

/// A configuration as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The content of the file.
    pub text: Arc<str>,
    /// A digest of it, but for the entry that shows this digest.
    pub version: String,
    /// Which routes are refused.
    pub claims: Claims,
}

/// The rendered Applications.
#[derive(Debug, Default)]
pub struct Parts(BTreeMap<AppId, Part>);

/// The entries of one Application, as text.
#[derive(Debug)]
struct Part {
    /// The routes that it lacks because they are refused.
    refused: Vec<usize>,
    entries: Entries,
    certificates: Vec<String>,
    digest: [u8; 32],
}

/// The entries of the maps of `http`, without the braces around them.
#[derive(Debug)]
struct Entries([String; 4]);

/// The maps of `http`, in the order of [`Entries`].
const MAPS: [&str; 4] = ["routers", "services", "middlewares", "serversTransports"];

impl Parts {
    /// The routes of an Application have changed.
    pub fn forget(&mut self, app: &AppId) {
        self.0.remove(app);
    }

    /// Renders all routes: those of Applications that were forgotten, and those that are accepted or refused otherwise than
    /// before.
    pub fn render(&mut self, all: &AllRoutes, settings: &Settings) -> Rendered {
        let claims = claims(all, settings);
        self.0.retain(|app, _| all.contains_key(app));
        let mut digest = Sha256::new();
        for (app, entry) in all {
            let refused: Vec<usize> = (0..entry.routes.len())
                .filter(|index| claims.refusal(app, *index).is_some())
                .collect();
            if self.0.get(app).is_none_or(|part| part.refused != refused) {
                self.0.insert(app.clone(), Part::new(entry, refused, settings));
            }
            if let Some(part) = self.0.get(app) {
                digest.update(part.digest);
            }
        }
        let own = self.own(settings);
        for entries in &own.0 {
            digest.update(entries.as_bytes());
        }
        let version = short(&digest.finalize());
        self.joined(&own, version, settings, claims)
    }

    /// What belongs to no Application, but for the marker of the version.
    fn own(&self, settings: &Settings) -> Entries {
        let mut http = Http::default();
        let has_service = |part: &Part| part.entries.0.get(1).is_some_and(|services| !services.is_empty());
        if self.0.values().any(has_service) {
            http.servers_transports
                .insert(transport_name(settings), transport());
        }
        if let Some((entry_point, user)) = &settings.api {
            add_api(&mut http, settings, entry_point, user);
        }
        Entries::new(&http)
    }

    fn joined(&self, own: &Entries, version: String, settings: &Settings, claims: Claims) -> Rendered {
        let mut marked = Http::default();
        marked
            .middlewares
            .insert(marker(settings, &version), shown(&version));
        let marked = Entries::new(&marked);
        let all = || self.0.values().map(|part| &part.entries).chain([own, &marked]);
        let size: usize = all().flat_map(|entries| &entries.0).map(String::len).sum();
        let mut text = String::with_capacity(size + size / 16 + 256);
        text.push_str("{\"http\":{");
        let mut maps = Joined::default();
        for (number, name) in MAPS.into_iter().enumerate() {
            let mut entries = all()
                .filter_map(|entries| entries.0.get(number))
                .filter(|entries| !entries.is_empty());
            // Traefik refuses empty maps.
            if let Some(first) = entries.next() {
                maps.separate(&mut text);
                for piece in ["\"", name, "\":{", first] {
                    text.push_str(piece);
                }
                for entries in entries {
                    text.push(',');
                    text.push_str(entries);
                }
                text.push('}');
            }
        }
        text.push('}');
        let certificates: BTreeSet<&String> = self.0.values().flat_map(|part| &part.certificates).collect();
        if !certificates.is_empty() {
            text.push_str(",\"tls\":{\"certificates\":[");
            let mut list = Joined::default();
            for certificate in certificates {
                list.separate(&mut text);
                text.push_str(certificate);
            }
            text.push_str("]}");
        }
        text.push('}');
        Rendered {
            text: text.into(),
            version,
            claims,
        }
    }
}

/// Renders all routes.
#[cfg(test)]
pub fn render(all: &AllRoutes, settings: &Settings) -> Rendered {
    Parts::default().render(all, settings)
}

/// Writes commas between things.
#[derive(Default)]
struct Joined(bool);

impl Joined {
    fn separate(&mut self, text: &mut String) {
        if std::mem::replace(&mut self.0, true) {
            text.push(',');
        }
    }
}

impl Part {
    fn new(entry: &AppRoutes, refused: Vec<usize>, settings: &Settings) -> Self {
        let mut http = Http::default();
        let mut certificates = Vec::new();
        for (index, input) in entry.routes.iter().enumerate() {
            if refused.contains(&index) {
                continue;
            }
            add(&mut http, settings, &entry.app, index, input);
            certificates.extend(input.certificate.as_ref().map(|certificate| {
                text(&TlsCertificate {
                    cert_file: certificate.chain().to_owned(),
                    key_file: certificate.key().expose_str().unwrap_or_default().to_owned(),
                })
            }));
        }
        let entries = Entries::new(&http);
        let mut digest = Sha256::new();
        for text in entries.0.iter().chain(&certificates) {
            digest.update(text.as_bytes());
            // No text contains it, so that other texts have another digest.
            digest.update(b"\n");
        }
        Self {
            refused,
            entries,
            certificates,
            digest: digest.finalize().into(),
        }
    }
}

impl Entries {
    fn new(http: &Http) -> Self {
        Self([
            inside(&http.routers),
            inside(&http.services),
            inside(&http.middlewares),
            inside(&http.servers_transports),
        ])
    }
}

/// A map as text without the braces around it.
fn inside(map: &impl Serialize) -> String {
    let text = text(map);
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    inside.unwrap_or_default().to_owned()
}
