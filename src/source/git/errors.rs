//! What Git, curl and ssh say on standard error, as an error with its own reason. Pure.
//! Everything runs with `LC_ALL=C`, so the sentences are those of the sources of these programs.

use super::error::SourceError;
use super::remote::GitRemote;
use crate::error::cut;
use crate::model::GitCredential;

/// The longest part of what Git said that goes into a message, in bytes.
const LONGEST_SAYING: usize = 400;

/// The kinds of failure that can be told by what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    DiskFull,
    HostKey,
    Key,
    Tls,
    Auth,
    NotFound,
    Redirected,
    RefNotFound,
    Unreachable,
    Transport,
    Refused,
}

/// Sentences in the order in which they are looked for: a line about what caused it comes before the general
/// complaint that follows it. Lower case.
const SENTENCES: &[(&str, Kind)] = &[
    ("no space left on device", Kind::DiskFull),
    ("disk quota exceeded", Kind::DiskFull),
    // ssh
    ("host key verification failed", Kind::HostKey),
    ("host identification has changed", Kind::HostKey),
    ("\": error in libcrypto", Kind::Key),
    ("\": invalid format", Kind::Key),
    ("permission denied (publickey", Kind::Auth),
    ("too many authentication failures", Kind::Auth),
    ("no supported authentication methods", Kind::Auth),
    // TLS; curl words it by the library it was built with
    ("certificate verification failed", Kind::Tls),
    ("certificate problem", Kind::Tls),
    ("certificate subject name", Kind::Tls),
    ("does not match target host name", Kind::Tls),
    ("error setting certificate", Kind::Tls),
    ("unexpected tls packet", Kind::Tls),
    ("wrong version number", Kind::Tls),
    ("certificate has expired", Kind::Tls),
    ("certificate is not trusted", Kind::Tls),
    // http
    ("could not read username", Kind::Auth),
    ("could not read password", Kind::Auth),
    ("authentication failed", Kind::Auth),
    ("returned error: 401", Kind::Auth),
    ("returned error: 403", Kind::Auth),
    ("returned error: 407", Kind::Auth),
    ("returned error: 30", Kind::Redirected),
    ("returned error: 404", Kind::NotFound),
    ("returned error: 410", Kind::NotFound),
    ("returned error: 429", Kind::Unreachable),
    ("returned error: 5", Kind::Unreachable),
    ("is this a git repository?", Kind::NotFound),
    // Git
    ("fsck error", Kind::Refused),
    ("invalid path '", Kind::Refused),
    ("transport '", Kind::Transport),
    ("couldn't find remote ref", Kind::RefNotFound),
    ("not our ref", Kind::RefNotFound),
    // A repository, in the words of Git and of the forges
    ("does not appear to be a git repository", Kind::NotFound),
    ("does not exist", Kind::NotFound),
    ("repository not found", Kind::NotFound),
    ("cannot find repository", Kind::NotFound),
    ("could not be found or you don't have permission", Kind::NotFound),
    ("' not found", Kind::NotFound),
    ("not a git repository", Kind::NotFound),
    // The way there
    ("could not resolve host", Kind::Unreachable),
    ("failed to connect", Kind::Unreachable),
    ("couldn't connect to server", Kind::Unreachable),
    ("connection refused", Kind::Unreachable),
    ("connection timed out", Kind::Unreachable),
    ("connection reset", Kind::Unreachable),
    ("connection closed", Kind::Unreachable),
    ("no route to host", Kind::Unreachable),
    ("network is unreachable", Kind::Unreachable),
    ("operation timed out", Kind::Unreachable),
    ("operation too slow", Kind::Unreachable),
    ("timed out", Kind::Unreachable),
    ("not responding", Kind::Unreachable),
    ("empty reply from server", Kind::Unreachable),
    ("handshake", Kind::Unreachable),
    ("non-properly terminated", Kind::Unreachable),
    ("kex_exchange_identification", Kind::Unreachable),
    ("the remote end hung up", Kind::Unreachable),
    ("early eof", Kind::Unreachable),
    ("transfer closed", Kind::Unreachable),
    ("rpc failed", Kind::Unreachable),
];

/// Lines that Git adds to every failure and that do not help the user.
const NOISE: &[&str] = &[
    "please make sure you have the correct access rights",
    "and the repository exists.",
    "warning: templates not found",
    "@@@@",
    // Of ssh, with paths of ours that are others each time: a status that repeats them would never be at rest.
    "add correct host key in ",
    "offending ",
    "remove with:",
    "ssh-keygen -f ",
    "please contact your system administrator",
];

/// Prompts for a credential. They fail without a terminal, and get a message of Davit's own.
const PROMPTS: &[&str] = &[
    "fatal: could not read username",
    "fatal: could not read password",
    "fatal: authentication failed for",
];

/// The error behind `stderr` of a command that was `doing` something with `remote`.
pub(super) fn classify(remote: &GitRemote, doing: &str, stderr: &str) -> SourceError {
    let (url, fields) = (remote.url.clone(), remote.fields);
    let said = saying(stderr);
    match kind(stderr) {
        Some(Kind::DiskFull) => SourceError::DiskFull {
            doing: format!("{doing} {url}"),
        },
        Some(Kind::HostKey) => SourceError::HostKeyUnknown {
            field: fields.credential,
            url,
            said,
        },
        Some(Kind::Tls) => SourceError::Tls {
            field: fields.credential,
            url,
            said,
        },
        Some(Kind::Auth) => SourceError::AuthFailed {
            field: fields.credential,
            url,
            said: refusal(remote, stderr).unwrap_or(said),
        },
        Some(Kind::NotFound) => SourceError::RepositoryNotFound {
            field: fields.url,
            url,
            said: if said.to_ascii_lowercase().contains("is this a git repository?") {
                "the server answers, but not as a Git repository".to_owned()
            } else {
                said
            },
        },
        Some(Kind::Redirected) => SourceError::Redirected {
            field: fields.url,
            url,
        },
        Some(Kind::RefNotFound) => SourceError::RefNotFound {
            field: fields.git_ref.to_owned(),
            what: "the ref".to_owned(),
            url,
            default_branch: None,
        },
        Some(Kind::Unreachable) => SourceError::Unreachable {
            field: fields.url,
            url,
            said,
        },
        Some(Kind::Key) => SourceError::KeyInvalid {
            field: fields.credential,
            url,
        },
        Some(Kind::Transport) => SourceError::TransportForbidden {
            field: fields.url,
            url: url.to_string(),
            why: "git refuses its transport",
            solution: "use https or ssh",
        },
        Some(Kind::Refused) => SourceError::Refused { url, said },
        None => SourceError::Failed {
            doing: format!("{doing} {url}"),
            said,
        },
    }
}

/// What a prompt for a credential means, and what the server said beside it.
fn refusal(remote: &GitRemote, stderr: &str) -> Option<String> {
    let is_prompt = |line: &&str| {
        let lower = line.trim().to_ascii_lowercase();
        PROMPTS.iter().any(|prompt| lower.starts_with(prompt))
    };
    stderr.lines().find(is_prompt)?;
    let meant = match remote.credential {
        GitCredential::Anonymous => "the server wants a credential",
        _ => "the server refused the credential",
    };
    let beside: Vec<_> = stderr.lines().filter(|line| !is_prompt(line)).collect();
    let beside = beside.join("\n");
    Some(if beside.trim().is_empty() {
        meant.to_owned()
    } else {
        format!("{meant}: {}", saying(&beside))
    })
}

/// True where the server gives only what a branch or tag names, and a commit by its hash must be had otherwise.
pub(super) fn refused_by_hash(stderr: &str) -> bool {
    let stderr = stderr.to_ascii_lowercase();
    [
        "unadvertised object",
        "not our ref",
        "not valid",
        "couldn't find remote ref",
    ]
    .iter()
    .any(|sentence| stderr.contains(sentence))
}

/// True where the server has looked and the object is not there, under whatever ref.
pub(super) fn has_no_such_object(stderr: &str) -> bool {
    stderr.contains("upload-pack: not our ref")
}

fn kind(stderr: &str) -> Option<Kind> {
    let stderr = stderr.to_ascii_lowercase();
    SENTENCES
        .iter()
        .find(|(sentence, kind)| {
            stderr.lines().any(|line| {
                // The other side's disk is not ours, and it may write what it likes after `remote:`.
                let theirs = line.starts_with("remote:");
                line.contains(sentence) && (!theirs || matches!(kind, Kind::NotFound | Kind::Auth))
            })
        })
        .map(|(_, kind)| *kind)
}

/// The lines that say something, on one line and short: the end is what matters.
fn saying(stderr: &str) -> String {
    let lines: Vec<_> = stderr
        .lines()
        .flat_map(|line| line.split('\r'))
        .map(str::trim)
        .filter(|line| {
            let lower = line.to_ascii_lowercase();
            !line.is_empty() && !NOISE.iter().any(|noise| lower.starts_with(noise))
        })
        .collect();
    let start = lines.len().saturating_sub(4);
    let text = lines.get(start..).unwrap_or_default().join("; ");
    if text.is_empty() {
        return "git said nothing".to_owned();
    }
    cut(&text, LONGEST_SAYING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::error::{Explain as _, Problem};
    use crate::redact::SafeUrl;
    use crate::source::Fields;

    fn explained(stderr: &str) -> SourceError {
        let remote = GitRemote {
            url: SafeUrl::parse("ssh://git@h.example/a.git").unwrap(),
            credential: GitCredential::Anonymous,
            ca: None,
            fields: Fields::GIT,
            connection: None,
        };
        classify(&remote, "fetch", stderr)
    }

    /// What git, ssh and the forges print, as seen at the real ones; the tests with servers show the rest.
    #[test]
    fn each_saying_has_its_reason() {
        let rights = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n";
        for (said, reason) in [
            ("ERROR: Repository not found.", Reason::GitRepositoryNotFound),
            (
                "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it.",
                Reason::GitRepositoryNotFound,
            ),
            (
                "remote: Gitea: Cannot find repository: a/b",
                Reason::GitRepositoryNotFound,
            ),
            ("repository does not exist.", Reason::GitRepositoryNotFound),
            (
                "fatal: '/srv/a.git' does not appear to be a git repository",
                Reason::GitRepositoryNotFound,
            ),
            (
                "git@h.example: Permission denied (publickey).",
                Reason::GitAuthFailed,
            ),
            (
                "No ED25519 host key is known for h.example and you have requested strict checking.\nHost key verification failed.",
                Reason::GitHostKeyUnknown,
            ),
            (
                "ssh: Could not resolve hostname h.example: Name or service not known",
                Reason::GitUnreachable,
            ),
            (
                "ssh: connect to host h.example port 22: Connection refused",
                Reason::GitUnreachable,
            ),
            (
                "ssh: connect to host h.example port 22: No route to host",
                Reason::GitUnreachable,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host",
                Reason::GitUnreachable,
            ),
            (
                "Timeout, server h.example not responding.",
                Reason::GitUnreachable,
            ),
        ] {
            let error = explained(&format!("{said}\n{rights}"));
            assert_eq!(error.reason(), reason, "{said}");
            let message = Problem::of(&error).message;
            assert!(!message.contains("access rights"), "{message}");
        }
        for (said, reason) in [
            (
                "fatal: unable to access 'https://h/a/': server certificate verification failed. CAfile: none CRLfile: none",
                Reason::GitTlsFailed,
            ),
            (
                "fatal: unable to access 'https://h/a/': SSL certificate problem: unable to get local issuer certificate",
                Reason::GitTlsFailed,
            ),
            (
                "fatal: unable to access 'https://h/a/': SSL: certificate subject name (x) does not match target host name 'h'",
                Reason::GitTlsFailed,
            ),
            (
                "fatal: unable to access 'https://h/a/': Could not resolve host: h",
                Reason::GitUnreachable,
            ),
            (
                "fatal: unable to access 'https://h/a/': Failed to connect to h port 443 after 2 ms: Couldn't connect to server",
                Reason::GitUnreachable,
            ),
            (
                "fatal: unable to access 'https://h/a/': The requested URL returned error: 502",
                Reason::GitUnreachable,
            ),
            (
                "error: RPC failed; curl 56 GnuTLS recv error (-54): Error in the pull function.\nfatal: early EOF",
                Reason::GitUnreachable,
            ),
            (
                "fatal: write error: No space left on device\nfatal: index-pack failed",
                Reason::DiskFull,
            ),
            (
                "remote: fatal: No space left on device\nfatal: something else",
                Reason::GitFailed,
            ),
            ("", Reason::GitFailed),
        ] {
            assert_eq!(explained(said).reason(), reason, "{said}");
        }
    }

    #[test]
    fn a_changed_host_key_is_told_without_our_paths() {
        let said = "@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@@@\n\
            The fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\nPlease contact your system administrator.\n\
            Add correct host key in /data/tmp/call-UbPxj8/known_hosts to get rid of this message.\n\
            Offending ED25519 key in /data/tmp/call-UbPxj8/known_hosts:1\n  remove with:\n  \
            ssh-keygen -f \"/data/tmp/call-UbPxj8/known_hosts\" -R \"h.example\"\n\
            Host key for h.example has changed and you have requested strict checking.\nHost key verification failed.";
        let error = explained(said);
        assert_eq!(error.reason(), Reason::GitHostKeyUnknown);
        let told = error.to_string();
        assert!(told.contains("SHA256:abc") && !told.contains("/data/"), "{told}");
        let error = explained(
            "Load key \"/data/tmp/call-UbPxj8/key\": error in libcrypto\ngit@h: Permission denied (publickey).",
        );
        assert_eq!(error.reason(), Reason::SecretInvalid);
        let told = Problem::of(&error).message;
        assert!(
            told.contains("ssh-privatekey") && !told.contains("/data/"),
            "{told}"
        );
    }

    #[test]
    fn what_is_repeated_is_short_and_says_something() {
        let long = format!("a\nb\n{}\nfatal: the end\n", "x".repeat(1000));
        assert!(saying(&long).len() <= LONGEST_SAYING);
        assert_eq!(saying("one\rtwo\n\n  fatal: three\n"), "one; two; fatal: three");
        assert_eq!(saying(" \n"), "git said nothing");
    }
}
