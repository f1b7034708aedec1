//! Deliveries that the four forges sent, as `scripts/build-peer recorded-deliveries` has them, with their headers and signed.

use serde_json::Value;

use super::{peers, signature};

/// The folder of the peer.
const FOLDER: &str = "recorded-deliveries-1.38.0";

/// One delivery.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `github`, `gitlab`, `bitbucket` or `gitea`.
    pub forge: &'static str,
    /// The name of its file, without the end.
    pub name: String,
    /// Its body.
    pub payload: Value,
    /// Its headers, with a signature where the forge has one.
    pub headers: Vec<(&'static str, String)>,
}

impl Recorded {
    /// The body as it is sent.
    pub fn body(&self) -> Vec<u8> {
        self.payload.to_string().into_bytes()
    }

    /// The path of the repository that it is about.
    pub fn repository(&self) -> &str {
        let path = match self.forge {
            "gitlab" => &self.payload["project"]["path_with_namespace"],
            _ => &self.payload["repository"]["full_name"],
        };
        path.as_str().unwrap()
    }

    /// Whether it is about a pull request that was opened, changed or closed.
    pub fn is_pull_request(&self) -> bool {
        let is_pull = self.name.starts_with("pr_") || self.name.starts_with("pull_request_");
        is_pull && !self.name.contains("comment")
    }
}

/// Every delivery of a forge in the order of the names, signed with this secret.
pub fn recorded(forge: &'static str, secret: &str) -> Vec<Recorded> {
    let folder = peers::file(&format!("{FOLDER}/{forge}"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            Some(
                entry
                    .unwrap()
                    .file_name()
                    .to_str()?
                    .strip_suffix(".json")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let file = peers::file(&format!("{FOLDER}/{forge}/{name}.json"));
            let payload: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
            let signed = signature(secret, payload.to_string().as_bytes());
            let headers = headers(forge, &name, &payload, secret, &signed);
            Recorded {
                forge,
                name,
                payload,
                headers,
            }
        })
        .collect()
}

fn headers(
    forge: &str,
    name: &str,
    payload: &Value,
    secret: &str,
    signed: &str,
) -> Vec<(&'static str, String)> {
    let prefixed = format!("sha256={signed}");
    let event = event(name);
    match forge {
        "github" => vec![
            ("x-github-event", event.to_owned()),
            ("x-hub-signature-256", prefixed),
        ],
        "gitea" => vec![
            ("x-gitea-event", event.to_owned()),
            ("x-gitea-event-type", event.to_owned()),
            ("x-github-event", event.to_owned()),
            ("x-gitea-signature", signed.to_owned()),
        ],
        "bitbucket" => {
            let key = match name {
                "pr_created" => "pullrequest:created",
                "pr_updated" => "pullrequest:updated",
                "pr_declined" => "pullrequest:rejected",
                "pr_fulfilled" => "pullrequest:fulfilled",
                "pr_comment_created" => "pullrequest:comment_created",
                "pr_comment_deleted" => "pullrequest:comment_deleted",
                _ => "repo:push",
            };
            vec![("x-event-key", key.to_owned()), ("x-hub-signature", prefixed)]
        }
        _ => {
            let event = match payload["object_kind"].as_str().unwrap() {
                "push" => "Push Hook",
                "tag_push" => "Tag Push Hook",
                "merge_request" => "Merge Request Hook",
                "issue" => "Issue Hook",
                "note" => "Note Hook",
                other => panic!("GitLab's {other} is not known here"),
            };
            vec![
                ("x-gitlab-event", event.to_owned()),
                ("x-gitlab-token", secret.to_owned()),
            ]
        }
    }
}

/// The event of GitHub and Gitea.
fn event(name: &str) -> &'static str {
    match name {
        _ if name.contains("comment") => "issue_comment",
        _ if name.starts_with("pr_") || name.starts_with("pull_request") => "pull_request",
        _ if name.starts_with("issue") => "issues",
        _ if name.starts_with("release") => "release",
        _ if name.starts_with("deployment") => "deployment",
        _ if name.starts_with("push") => "push",
        _ if name.ends_with("create") => "create",
        _ => "delete",
    }
}
