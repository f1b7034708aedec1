//! Deliveries about pull and merge requests. They only shorten the wait for the next poll, so nothing of them counts but the
//! repository.

use http::HeaderMap;
use serde::Deserialize;

use super::parse::{path, read};
use super::{Event, Refusal, Sender};

/// What Gitea reports about a pull request that changes no preview; the comments of Davit itself are among it.
const IDLE: [&str; 5] = [
    "pull_request_assign",
    "pull_request_comment",
    "pull_request_milestone",
    "pull_request_review_comment",
    "pull_request_review_request",
];

/// Reads a delivery about a pull request; nothing of any other one.
pub(super) fn parse(sender: Sender, headers: &HeaderMap, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    match sender {
        Sender::GitHub if matches!(sender.event(headers), "pull_request" | "pull_request_review") => {
            named(body)
        }
        Sender::Gitea
            if sender.event(headers).starts_with("pull_request")
                && ![text("x-gitea-event-type"), text("x-gitea-event")]
                    .iter()
                    .any(|kind| IDLE.contains(kind)) =>
        {
            named(body)
        }
        Sender::Bitbucket if text("x-event-key").starts_with("pullrequest:") => named(body),
        Sender::GitLab if text("x-gitlab-event") == "Merge Request Hook" => merge_request(body),
        _ => Ok(Vec::new()),
    }
}

/// The repository of GitHub, Gitea and Bitbucket: that which the pull request is for.
fn named(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        repository: Repository,
    }
    #[derive(Deserialize)]
    struct Repository {
        full_name: String,
        id: Option<u64>,
        uuid: Option<String>,
    }
    let Repository { full_name, id, uuid } = read::<Body>(body)?.repository;
    Ok(vec![Event::PullRequest {
        repository: path(&full_name)?,
        id: id.map(|id| id.to_string()).or(uuid),
    }])
}

fn merge_request(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        project: Project,
    }
    #[derive(Deserialize)]
    struct Project {
        id: Option<u64>,
        path_with_namespace: String,
    }
    let body: Body = read(body)?;
    Ok(vec![Event::PullRequest {
        repository: path(&body.project.path_with_namespace)?,
        id: body.project.id.map(|id| id.to_string()),
    }])
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::{Value, json};

    use super::*;

    fn parsed(headers: &[(&'static str, &'static str)], body: &Value) -> Result<Vec<Event>, Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.collect();
        parse(Sender::of(&headers), &headers, body.to_string().as_bytes())
    }

    #[test]
    fn delivery_about_a_pull_request_names_its_repository() {
        let shop = |id: Option<&str>| {
            Ok(vec![Event::PullRequest {
                repository: path("acme/shop").unwrap(),
                id: id.map(str::to_owned),
            }])
        };
        let body = json!({"action": "opened", "number": 7, "repository": {"full_name": "acme/shop"}});
        for header in [
            ("x-github-event", "pull_request"),
            ("x-github-event", "pull_request_review"),
            ("x-event-key", "pullrequest:created"),
            ("x-event-key", "pullrequest:fulfilled"),
        ] {
            assert_eq!(parsed(&[header], &body), shop(None), "{header:?}");
        }
        for (kind, counts) in [
            ("pull_request", true),
            ("pull_request_sync", true),
            ("pull_request_label", true),
            ("pull_request_review_approved", true),
            ("pull_request_comment", false),
            ("pull_request_assign", false),
        ] {
            let headers = [
                ("x-gitea-event", "pull_request"),
                ("x-gitea-event-type", kind),
                ("x-github-event", "pull_request"),
            ];
            assert_eq!(
                parsed(&headers, &body),
                if counts { shop(None) } else { Ok(Vec::new()) },
                "{kind}"
            );
        }
        let merge = json!({"object_kind": "merge_request", "project": {"id": 15, "path_with_namespace": "acme/shop"}});
        assert_eq!(
            parsed(&[("x-gitlab-event", "Merge Request Hook")], &merge),
            shop(Some("15"))
        );
        assert_eq!(
            parsed(&[("x-github-event", "issue_comment")], &body),
            Ok(Vec::new())
        );
        assert_eq!(
            parsed(&[("x-github-event", "pull_request")], &json!({})),
            Err(Refusal::Malformed)
        );
    }
}
