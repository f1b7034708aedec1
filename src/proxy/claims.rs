//! Which Application has a host. The oldest one owns it; Applications of its namespace may have other paths of it.

use std::collections::BTreeMap;

use super::Certificate;
use super::input::AllRoutes;
use crate::api::ascii_host;
use crate::model::AppId;

/// Which hosts the Applications of this installation may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPolicy {
    /// The value of `--allowed-hosts`; `None` if all hosts are allowed.
    pub allowed: Option<Patterns>,
}

/// Patterns of hosts: `shop.example.com`, `*.example.com` for one level, `**.example.com` for all levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Patterns {
    /// Reads patterns that commas or white space separate.
    ///
    /// # Errors
    /// The first pattern that is invalid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = text
            .split(|letter: char| letter == ',' || letter.is_whitespace())
            .filter(|word| !word.is_empty());
        words
            .map(|word| {
                let stars = ["**.", "*."].into_iter().find(|stars| word.starts_with(stars));
                let stars = stars.unwrap_or_default();
                // Of a pattern, one part may follow: *.internal limits, and is no host.
                let name = word.strip_prefix(stars).unwrap_or(word);
                if name.contains('*') {
                    return Err(format!(
                        "{word:?} may have * or ** as its first part only: write *.example.com or **.example.com"
                    ));
                }
                match ascii_host(name) {
                    Ok(ascii) => Ok(format!("{stars}{ascii}")),
                    Err(why) => Err(format!("{word:?} {why}")),
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reports whether a host, or each host that a wildcard stands for, matches a pattern.
    pub fn allow(&self, host: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_prefix("**.") {
            Some(domain) => {
                let name = host.strip_prefix("*.").unwrap_or(host);
                let below = name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
                below || (name == domain && name != host)
            }
            None => pattern == host || (!host.starts_with("*.") && covers(pattern, host)),
        })
    }
}

/// Reports whether a wildcard stands for a host.
fn covers(wildcard: &str, host: &str) -> bool {
    let Some(domain) = wildcard.strip_prefix("*.") else {
        return false;
    };
    let label = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
    label.is_some_and(|label| !label.is_empty() && !label.contains('.') && label != "*")
}

/// Why a route is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An older Application has the host and the path.
    Conflict {
        /// The other Application; `None` if it belongs to another namespace, which must not become known.
        owner: Option<String>,
    },
    /// The namespace may not have the host.
    NotAllowed {
        /// Whether the annotation of the namespace limits it, and not `--allowed-hosts`.
        by_namespace: bool,
    },
    /// The annotation of the namespace cannot be read.
    PatternsInvalid(String),
    /// The certificate of the Secret names the host of another namespace.
    CertificateOfOthers {
        /// The name in the certificate.
        name: String,
    },
    /// Something that the route refers to is missing or invalid.
    Problem(String),
}

/// The refused routes of all Applications, by Application and index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    refused: BTreeMap<AppId, BTreeMap<usize, Refusal>>,
}

/// A host and path that an Application has.
struct Claim<'a> {
    app: &'a AppId,
    host: &'a str,
    path: &'a str,
}

impl Claims {
    /// Decides for all routes.
    pub fn new(all: &AllRoutes, policy: &HostPolicy) -> Self {
        let mut apps: Vec<_> = all.values().collect();
        apps.sort_by(|one, two| (one.created, &one.uid, &one.app).cmp(&(two.created, &two.uid, &two.app)));
        let mut claims: Vec<Claim<'_>> = Vec::new();
        let mut exact: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut refused = Self::default();
        for entry in &apps {
            for (index, input) in entry.routes.iter().enumerate() {
                let (host, path) = (input.host.as_str(), input.route.prefix());
                if let Some(problem) = input.problem.as_ref().filter(|_| host.is_empty()) {
                    // It has no host that it could own.
                    refused.refuse(&entry.app, index, Refusal::Problem(problem.clone()));
                    continue;
                }
                let refusal = allowed(entry.allowed.as_deref(), policy, host).or_else(|| {
                    let wildcard = host.split_once('.').map(|(_, domain)| format!("*.{domain}"));
                    let same = exact.get(host).into_iter().flatten();
                    let above = wildcard.as_deref().and_then(|wildcard| exact.get(wildcard));
                    let above = above.into_iter().flatten().filter(|_| !host.starts_with("*."));
                    let conflicts = |other: &&Claim<'_>| {
                        other.app.namespace != entry.app.namespace
                            || (other.host == host && other.path == path)
                    };
                    let other = same
                        .chain(above)
                        .filter_map(|number| claims.get(*number))
                        .find(conflicts)?;
                    if *other.app == entry.app {
                        let problem = "an earlier route of this Application has the same host and path: remove one of both";
                        return Some(Refusal::Problem(problem.to_owned()));
                    }
                    let known = other.app.namespace == entry.app.namespace;
                    Some(Refusal::Conflict {
                        owner: known.then(|| other.app.name.clone()),
                    })
                });
                if let Some(refusal) = refusal {
                    refused.refuse(&entry.app, index, refusal);
                    continue;
                }
                exact.entry(host).or_default().push(claims.len());
                claims.push(Claim {
                    app: &entry.app,
                    host,
                    path,
                });
                // The host stays owned while what the route refers to is mended.
                if let Some(problem) = &input.problem {
                    refused.refuse(&entry.app, index, Refusal::Problem(problem.clone()));
                }
            }
        }
        for entry in &apps {
            for (index, input) in entry.routes.iter().enumerate() {
                let names = input.certificate.iter().flat_map(Certificate::claimed);
                let of_others = |name: &&String| {
                    let owners = exact.get(name.as_str()).into_iter().flatten();
                    owners
                        .filter_map(|number| claims.get(*number))
                        .any(|claim| claim.app.namespace != entry.app.namespace)
                };
                if let Some(name) = names.into_iter().find(of_others) {
                    let name = name.clone();
                    refused.refuse(&entry.app, index, Refusal::CertificateOfOthers { name });
                }
            }
        }
        refused
    }

    /// Refuses a route, unless it is refused already.
    pub fn refuse(&mut self, app: &AppId, index: usize, refusal: Refusal) {
        let routes = self.refused.entry(app.clone()).or_default();
        routes.entry(index).or_insert(refusal);
    }

    /// Returns why a route is refused.
    pub fn refusal(&self, app: &AppId, index: usize) -> Option<&Refusal> {
        self.refused.get(app)?.get(&index)
    }
}

fn allowed(of_namespace: Option<&str>, policy: &HostPolicy, host: &str) -> Option<Refusal> {
    match of_namespace {
        Some(text) => match Patterns::parse(text) {
            Ok(patterns) if patterns.allow(host) => None,
            Ok(_) => Some(Refusal::NotAllowed { by_namespace: true }),
            Err(why) => Some(Refusal::PatternsInvalid(why)),
        },
        None => match &policy.allowed {
            Some(patterns) if !patterns.allow(host) => Some(Refusal::NotAllowed { by_namespace: false }),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Route;
    use crate::proxy::{AppRoutes, RouteInput};

    fn app(namespace: &str, name: &str, created: i64, routes: &[&str]) -> (AppId, AppRoutes) {
        let id = AppId::new(namespace, name);
        let route = |text: &&str| {
            let (host, path) = text.split_once('/').unwrap_or((text, ""));
            RouteInput {
                route: Route {
                    host: host.to_owned(),
                    path: format!("/{path}"),
                    ..Route::default()
                },
                host: ascii_host(host).unwrap(),
                port: Some(3000),
                servers: Vec::new(),
                health: None,
                users: None,
                certificate: None,
                problem: None,
            }
        };
        let entry = AppRoutes {
            app: id.clone(),
            uid: format!("{namespace}-{name}"),
            created,
            allowed: None,
            routes: routes.iter().map(route).collect(),
        };
        (id, entry)
    }

    /// The refused routes, as `namespace/name/index=owner`.
    fn conflicts(apps: &[(AppId, AppRoutes)]) -> Vec<String> {
        let all: AllRoutes = apps.iter().cloned().collect();
        let claims = Claims::new(&all, &HostPolicy::default());
        let mut found = Vec::new();
        for (app, routes) in &claims.refused {
            for (index, refusal) in routes {
                let Refusal::Conflict { owner } = refusal else {
                    panic!("{refusal:?}");
                };
                found.push(format!("{app}/{index}={}", owner.as_deref().unwrap_or("?")));
            }
        }
        found
    }

    #[test]
    fn oldest_application_owns_a_host() {
        let none: [&str; 0] = [];
        let old = || app("a", "old", 1, &["shop.example.com"]);
        for (other, expected) in [
            (app("a", "new", 2, &["shop.example.com"]), &["a/new/0=old"][..]),
            (app("b", "new", 2, &["shop.example.com"]), &["b/new/0=?"]),
            (app("a", "new", 2, &["shop.example.com/api"]), &none),
            (app("b", "new", 2, &["shop.example.com/api"]), &["b/new/0=?"]),
            (
                app("b", "new", 2, &["api.example.com", "SHOP.example.com"]),
                &["b/new/1=?"],
            ),
            (app("b", "older", 0, &["shop.example.com"]), &["a/old/0=?"]),
            // Younger wildcards get what is left, in each namespace.
            (app("b", "new", 2, &["*.example.com"]), &none),
            (app("b", "older", 0, &["*.example.com"]), &["a/old/0=?"]),
            (app("a", "older", 0, &["*.example.com"]), &none),
            (
                app("b", "older", 0, &["*.shop.example.com", "example.com"]),
                &none,
            ),
            // Of one second, the UID decides, so that each start decides alike.
            (app("b", "same", 1, &["shop.example.com"]), &["b/same/0=?"]),
        ] {
            let name = other.0.to_string();
            assert_eq!(conflicts(&[old(), other]), expected, "{name}");
        }
    }

    #[test]
    fn one_application_cannot_have_a_route_twice() {
        let twice = app(
            "a",
            "web",
            1,
            &["x.example.com/a", "x.example.com/b", "x.example.com/a/"],
        );
        let all: AllRoutes = [twice.clone()].into();
        let claims = Claims::new(&all, &HostPolicy::default());
        let refused: Vec<_> = (0..3).map(|index| claims.refusal(&twice.0, index)).collect();
        assert!(
            matches!(refused[..], [None, None, Some(Refusal::Problem(why))] if why.contains("earlier route")),
            "{refused:?}"
        );
    }

    #[test]
    fn freed_host_belongs_to_the_next_oldest() {
        let (one, two, three) = (
            app("a", "one", 1, &["x.example.com"]),
            app("b", "two", 2, &["x.example.com"]),
            app("c", "three", 3, &["x.example.com"]),
        );
        assert_eq!(
            conflicts(&[one, two.clone(), three.clone()]),
            ["b/two/0=?", "c/three/0=?"]
        );
        assert_eq!(conflicts(&[two, three]), ["c/three/0=?"]);
    }

    #[test]
    fn hosts_are_limited_by_flag_and_namespace() {
        for (patterns, host, allowed) in [
            ("shop.example.com", "shop.example.com", true),
            ("shop.example.com", "*.example.com", false),
            ("*.example.com", "shop.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "a.shop.example.com", false),
            ("*.example.com", "*.shop.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("**.example.com", "a.b.example.com", true),
            ("**.example.com", "*.b.example.com", true),
            ("**.example.com", "*.example.com", true),
            ("**.example.com", "example.com", false),
            ("**.example.com", "badexample.com", false),
            ("a.example.com, b.example.com", "b.example.com", true),
            ("*.bücher.example", "x.xn--bcher-kva.example", true),
            ("", "shop.example.com", false),
            ("*.internal", "shop.internal", true),
            ("*.internal", "a.shop.internal", false),
            ("*.internal", "internal", false),
            ("*.apps.example.com,**.internal", "a.shop.internal", true),
            ("localhost", "localhost", true),
        ] {
            let parsed = Patterns::parse(patterns).unwrap();
            assert_eq!(parsed.allow(host), allowed, "{patterns}: {host}");
        }
        assert!(
            Patterns::parse("https://x")
                .unwrap_err()
                .starts_with("\"https://x\" ")
        );
        for wrong in ["**.*.example.com", "a.**.com", "*", "**", "*internal"] {
            let refused = Patterns::parse(wrong).unwrap_err();
            assert!(refused.contains("first part only"), "{refused}");
        }
        let policy = HostPolicy {
            allowed: Some(Patterns::parse("*.apps.example.com").unwrap()),
        };
        let of = |namespace: Option<&str>, host: &str| {
            let (id, mut entry) = app("a", "web", 1, &[host]);
            entry.allowed = namespace.map(str::to_owned);
            let all = AllRoutes::from([(id.clone(), entry)]);
            Claims::new(&all, &policy).refusal(&id, 0).cloned()
        };
        assert_eq!(of(None, "x.apps.example.com"), None);
        let refused = |by_namespace| Some(Refusal::NotAllowed { by_namespace });
        assert_eq!(of(None, "x.example.com"), refused(false));
        assert_eq!(of(Some("x.example.com"), "x.example.com"), None);
        assert_eq!(of(Some("y.example.com"), "x.apps.example.com"), refused(true));
        assert!(matches!(
            of(Some("a b*"), "x.example.com"),
            Some(Refusal::PatternsInvalid(_))
        ));
    }
}
