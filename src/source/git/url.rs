//! Which addresses Git may be given, and what a submodule's address means. Pure.

use std::net::IpAddr;

use url::{Host, Url};

use super::error::SourceError;
use super::remote::{Fields, GitRemote};
use crate::model::{GitCredential, RefSpec};
use crate::redact::SafeUrl;

/// The way out for an address of another machine.
const REMOTE: &str = "an https:// or ssh:// URL";
/// The way out for an address of this machine.
const LOCAL: &str = "an https:// or ssh:// URL, or start davit with --allow-local-sources";

/// Refuses every address that is not https, ssh or (with `development`) file or http to this very machine, and every
/// one that holds a credential, which would show in the list of processes.
pub(super) fn check(remote: &GitRemote, development: bool) -> Result<(), SourceError> {
    let url = remote.url.expose();
    let invalid = |why| SourceError::UrlInvalid {
        field: remote.fields.url,
        why,
    };
    let forbidden = |why, solution| SourceError::TransportForbidden {
        field: remote.fields.url,
        url: remote.url.to_string(),
        why,
        solution,
    };
    match url.scheme() {
        "https" => {}
        "ssh" => {
            if url.password().is_some() {
                return Err(invalid("it contains a password; put an ssh key into a Secret"));
            }
        }
        "http" if development && is_loopback(url) => {}
        "http" if is_loopback(url) => {
            return Err(forbidden("http to this machine is for development", LOCAL));
        }
        "http" => {
            return Err(forbidden(
                "the network can read and change a source that is sent over http",
                REMOTE,
            ));
        }
        "file" if development => {}
        "file" => return Err(forbidden("file:// is for development", LOCAL)),
        _ => return Err(forbidden("this transport is not allowed", REMOTE)),
    }
    if url.scheme() != "ssh" && remote.url.has_credentials() {
        return Err(invalid(
            "it contains a user name or password; put them into a Secret and set secretRef",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has a query or a fragment"));
    }
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "file" if host.is_empty() => {}
        "file" => return Err(invalid("a file URL has three slashes")),
        // What ssh would take for an option.
        _ if host.is_empty() || host.starts_with('-') || url.username().starts_with('-') => {
            return Err(invalid("it has no host"));
        }
        "ssh" if !plain(host) || !plain(url.username()) => {
            return Err(invalid("its user or host has invalid characters"));
        }
        _ => {}
    }
    if matches!(url.path(), "" | "/") {
        return Err(invalid("it has no path of a repository"));
    }
    Ok(())
}

/// Checks that the credential fits the transport, because Git's own message does not help the user.
pub(super) fn check_credential(remote: &GitRemote) -> Result<(), SourceError> {
    let said = match (remote.url.expose().scheme(), &remote.credential) {
        (
            "ssh",
            GitCredential::Ssh {
                known_hosts: None,
                ignore_host_key: false,
                ..
            },
        ) => {
            return Err(SourceError::HostKeyMissing {
                field: remote.fields.credential,
                url: remote.url.clone(),
            });
        }
        ("ssh", GitCredential::Ssh { .. }) | ("file", _) => return Ok(()),
        ("ssh", _) => "ssh wants a private key: a Secret with ssh-privatekey and known_hosts",
        (_, GitCredential::Ssh { .. }) => {
            "https wants a Secret with username and password (or bearerToken), not an ssh key"
        }
        (_, GitCredential::Anonymous | GitCredential::Basic { .. } | GitCredential::Bearer(_)) => {
            return Ok(());
        }
    };
    Err(SourceError::AuthFailed {
        field: remote.fields.credential,
        url: remote.url.clone(),
        said: said.to_owned(),
    })
}

/// The field and the name of the ref that is meant, as `branch main`.
pub(super) fn describe(remote: &GitRemote, spec: &RefSpec) -> (String, String) {
    let fields = &remote.fields;
    match spec {
        RefSpec::Default => (fields.git_ref.to_owned(), "the default branch".to_owned()),
        RefSpec::Branch(name) => (fields.in_ref("branch"), format!("branch {name:?}")),
        RefSpec::Tag(name) => (fields.in_ref("tag"), format!("tag {name:?}")),
        RefSpec::Commit(commit) => (fields.in_ref("commit"), format!("commit {commit}")),
        RefSpec::HighestTag(pattern) => (
            "spec.trigger.tagPattern".to_owned(),
            format!("the highest tag that matches {pattern}"),
        ),
    }
}

/// The error for a ref that is not there.
pub(super) fn not_there(remote: &GitRemote, spec: &RefSpec, default_branch: Option<String>) -> SourceError {
    let (field, what) = describe(remote, spec);
    SourceError::RefNotFound {
        field,
        what,
        url: remote.url.clone(),
        default_branch,
    }
}

/// The full name of the ref at the remote, or nothing for a commit.
///
/// # Errors
/// A name that Git would not allow for a branch or tag, or would take for a pattern.
pub(super) fn full_name(remote: &GitRemote, spec: &RefSpec) -> Result<Option<String>, SourceError> {
    let (prefix, name) = match spec {
        RefSpec::Default => return Ok(Some("HEAD".to_owned())),
        RefSpec::Commit(_) | RefSpec::HighestTag(_) => return Ok(None),
        RefSpec::Branch(name) => ("refs/heads/", name),
        RefSpec::Tag(name) => ("refs/tags/", name),
    };
    if is_ref_name(name) {
        Ok(Some(format!("{prefix}{name}")))
    } else {
        Err(SourceError::RefInvalid {
            field: describe(remote, spec).0,
            name: name.clone(),
        })
    }
}

/// The rules of git-check-ref-format(1). A name may begin like an option, because it never stands alone in an argument.
fn is_ref_name(name: &str) -> bool {
    let bad_part = |part: &str| {
        part.is_empty()
            || part.starts_with('.')
            || std::path::Path::new(part)
                .extension()
                .is_some_and(|extension| extension == "lock")
    };
    name != "@"
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name
            .chars()
            .any(|c| c.is_ascii_control() || " ~^:?*[\\".contains(c))
        && !name.split('/').any(bad_part)
}

/// The remote of a submodule whose address in `.gitmodules` is `text`: a relative one is resolved against the parent's,
/// and the parent's credential goes along only to the same scheme, host and port.
///
/// # Errors
/// What is wrong with the address, for the user.
pub(super) fn submodule(parent: &GitRemote, text: &str) -> Result<GitRemote, String> {
    let url = if text.starts_with("./") || text.starts_with("../") {
        relative(parent.url.expose(), text)?
    } else if text.contains("://") {
        // The text itself may hold a credential and is not repeated.
        Url::parse(text).map_err(|error| format!("its url cannot be read: {error}"))?
    } else if is_helper(text) {
        return Err("its transport is neither https nor ssh".to_owned());
    } else if let Some(url) = scp_like(text) {
        url
    } else {
        return Err("its url is a path of this machine or has no scheme".to_owned());
    };
    let same = origin(&url) == origin(parent.url.expose());
    let credential = if same {
        parent.credential.clone()
    } else {
        GitCredential::Anonymous
    };
    Ok(GitRemote {
        url: SafeUrl::parse(url.as_str()).map_err(|error| error.to_string())?,
        credential,
        ca: parent.ca.clone(),
        fields: Fields::of_submodule(&parent.fields),
        connection: parent.connection.clone().filter(|_| same),
    })
}

/// A refusal as it is meant where the submodule's server is another one than its parent's: the parent's credential was
/// never shown to it, and no other can be given.
pub(super) fn without_credential(parent: &GitRemote, module: &GitRemote, error: SourceError) -> SourceError {
    let (here, there) = (parent.url.expose(), module.url.expose());
    match error {
        SourceError::AuthFailed { url, field, .. } if origin(here) != origin(there) => {
            let port = here.port().map_or(String::new(), |port| format!(":{port}"));
            SourceError::NoCredential {
                field,
                url,
                server: format!(
                    "{}://{}{port}",
                    here.scheme(),
                    here.host_str().unwrap_or_default()
                ),
            }
        }
        other => other,
    }
}

/// What must be equal for a credential to go along.
fn origin(url: &Url) -> (String, Option<String>, Option<u16>) {
    let port = url.port_or_known_default().or(match url.scheme() {
        "ssh" => Some(22),
        _ => None,
    });
    let host = url.host_str().map(str::to_ascii_lowercase);
    (url.scheme().to_owned(), host, port)
}

/// `name::address`: what Git would hand to a program of that name.
fn is_helper(text: &str) -> bool {
    text.split_once("::").is_some_and(|(name, _)| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_+.".contains(c))
    })
}

/// `user@host:path`, as the URL that means the same at every forge.
fn scp_like(text: &str) -> Option<Url> {
    let (place, path) = text.split_once(':')?;
    if place.contains('/') || place.is_empty() || path.is_empty() {
        return None;
    }
    Url::parse(&format!("ssh://{place}/{}", path.trim_start_matches('/'))).ok()
}

/// Git's own rule: each `../` takes one part away from the end of the parent's path.
fn relative(parent: &Url, text: &str) -> Result<Url, String> {
    let mut parts: Vec<&str> = parent.path().split('/').filter(|part| !part.is_empty()).collect();
    let mut rest = text;
    loop {
        if let Some(next) = rest.strip_prefix("../") {
            parts
                .pop()
                .ok_or_else(|| "its relative url leads out of the server".to_owned())?;
            rest = next;
        } else if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else {
            break;
        }
    }
    if rest.split('/').any(|part| matches!(part, ".." | ".")) {
        return Err("its relative url has .. in its middle".to_owned());
    }
    parts.extend(rest.split('/').filter(|part| !part.is_empty()));
    let mut url = parent.clone();
    url.set_path(&format!("/{}", parts.join("/")));
    Ok(url)
}

fn plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || "-._~[]:%+".contains(c))
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::error::Explain as _;
    use crate::redact::Secret;

    fn remote(url: &str, credential: GitCredential) -> GitRemote {
        GitRemote {
            url: SafeUrl::parse(url).unwrap(),
            credential,
            ca: None,
            fields: Fields::GIT,
            connection: None,
        }
    }

    fn ssh(known_hosts: Option<&str>, ignore_host_key: bool) -> GitCredential {
        GitCredential::Ssh {
            key: Secret::from("k"),
            known_hosts: known_hosts.map(str::to_owned),
            ignore_host_key,
        }
    }

    #[test]
    fn only_these_addresses_are_used() {
        use Reason::{GitTransportForbidden as Forbidden, InvalidSpec as Invalid};
        for (url, production, development) in [
            ("https://h.example/a.git", None, None),
            ("https://h.example:8443/a/b/c", None, None),
            ("ssh://git@h.example/a.git", None, None),
            ("ssh://h.example:2222/~/a.git", None, None),
            ("ssh://git@[::1]:22/a.git", None, None),
            ("http://127.0.0.1:3000/a.git", Some(Forbidden), None),
            ("http://localhost/a.git", Some(Forbidden), None),
            ("http://[::1]/a.git", Some(Forbidden), None),
            ("http://h.example/a.git", Some(Forbidden), Some(Forbidden)),
            (
                "http://localhost.h.example/a.git",
                Some(Forbidden),
                Some(Forbidden),
            ),
            ("file:///srv/a.git", Some(Forbidden), None),
            ("file://h.example/a.git", Some(Forbidden), Some(Invalid)),
            ("git://h.example/a.git", Some(Forbidden), Some(Forbidden)),
            ("ext::sh%20-c%20id", Some(Forbidden), Some(Forbidden)),
            ("ftp://h.example/a.git", Some(Forbidden), Some(Forbidden)),
            ("https://u:p@h.example/a.git", Some(Invalid), Some(Invalid)),
            ("https://token@h.example/a.git", Some(Invalid), Some(Invalid)),
            ("ssh://u:p@h.example/a.git", Some(Invalid), Some(Invalid)),
            ("https://h.example/a.git?token=x", Some(Invalid), Some(Invalid)),
            ("https://h.example/a.git#x", Some(Invalid), Some(Invalid)),
            ("https://h.example/", Some(Invalid), Some(Invalid)),
            ("ssh://-oProxyCommand=id/a.git", Some(Invalid), Some(Invalid)),
            (
                "ssh://-oProxyCommand=id@h.example/a.git",
                Some(Invalid),
                Some(Invalid),
            ),
            ("ssh://h.example$(id)/a.git", Some(Invalid), Some(Invalid)),
        ] {
            let remote = remote(url, GitCredential::Anonymous);
            for (flag, expected) in [(false, production), (true, development)] {
                let found = check(&remote, flag).err().map(|error| error.reason());
                assert_eq!(found, expected, "{url} {flag}");
            }
        }
    }

    #[test]
    fn a_credential_must_fit_the_transport() {
        let basic = || GitCredential::Basic {
            username: "u".to_owned(),
            password: Secret::from("p"),
        };
        for (url, credential, expected) in [
            ("https://h/a", GitCredential::Anonymous, None),
            ("https://h/a", basic(), None),
            (
                "https://h/a",
                ssh(Some("h k"), false),
                Some(Reason::GitAuthFailed),
            ),
            ("ssh://h/a", ssh(Some("h k"), false), None),
            ("ssh://h/a", ssh(None, true), None),
            ("ssh://h/a", ssh(None, false), Some(Reason::GitHostKeyMissing)),
            ("ssh://h/a", basic(), Some(Reason::GitAuthFailed)),
            ("ssh://h/a", GitCredential::Anonymous, Some(Reason::GitAuthFailed)),
        ] {
            let found = check_credential(&remote(url, credential))
                .err()
                .map(|error| error.reason());
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn a_ref_is_a_name_and_nothing_else() {
        let remote = remote("https://h/a", GitCredential::Anonymous);
        for name in [
            "main",
            "feature/x-1",
            "v1.0.0",
            "über",
            "a@b",
            "fix#7",
            "-x",
            "--upload-pack=id",
        ] {
            let full = full_name(&remote, &RefSpec::Branch(name.to_owned())).unwrap();
            assert_eq!(full, Some(format!("refs/heads/{name}")));
        }
        for name in [
            "", "a b", "a..b", "a:b", "a^{}", "a*", "a?", "[a", "a\\b", "/a", "a/", "a//b", ".a", "a/.b",
            "a.lock", "a.", "@", "a@{1}", "a\nb", "~a",
        ] {
            let error = full_name(&remote, &RefSpec::Tag(name.to_owned())).unwrap_err();
            assert_eq!(error.reason(), Reason::InvalidSpec, "{name}");
        }
    }

    #[test]
    fn a_submodule_is_where_git_would_look_and_gets_only_its_own_credential() {
        let parent = "https://h.example:8443/group/shop.git";
        for (text, url, credential) in [
            ("../lib.git", "https://h.example:8443/group/lib.git", true),
            ("../../other/lib", "https://h.example:8443/other/lib", true),
            ("./lib.git", "https://h.example:8443/group/shop.git/lib.git", true),
            (
                "https://h.example:8443/x.git",
                "https://h.example:8443/x.git",
                true,
            ),
            ("https://h.example/x.git", "https://h.example/x.git", false),
            (
                "https://other.example:8443/x.git",
                "https://other.example:8443/x.git",
                false,
            ),
            (
                "http://h.example:8443/x.git",
                "http://h.example:8443/x.git",
                false,
            ),
            ("ssh://h.example:8443/x.git", "ssh://h.example:8443/x.git", false),
            (
                "git@h.example:group/x.git",
                "ssh://git@h.example/group/x.git",
                false,
            ),
        ] {
            let basic = GitCredential::Bearer(Secret::from("t"));
            let found = submodule(&remote(parent, basic.clone()), text).unwrap();
            assert_eq!(found.url.expose().as_str(), url);
            assert_eq!(found.credential == basic, credential, "{text}");
        }
        let over_ssh = remote("ssh://git@h.example/shop.git", ssh(None, true));
        let found = submodule(&over_ssh, "git@h.example:lib.git").unwrap();
        assert_eq!(found.credential, over_ssh.credential);
        for text in [
            "../../../x",
            "/srv/x.git",
            "x.git",
            "../a/../../../x",
            ":x",
            "ext::sh -c id",
            "fd::17",
            "",
            "-x",
        ] {
            let found = submodule(&remote(parent, GitCredential::Anonymous), text);
            assert!(found.is_err(), "{text}: {found:?}");
        }
    }
}
