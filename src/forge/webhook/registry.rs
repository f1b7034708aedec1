//! Notifications of image registries. They are hints only: the registry is asked for the digest.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Event, Refusal};

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Malformed)
}

/// An image in GitHub's container registry.
pub fn github_package(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(alias = "package")]
        registry_package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        package_version: Option<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        package_url: Option<String>,
        container_metadata: Option<Metadata>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        tag: Option<Tag>,
    }
    #[derive(Deserialize)]
    struct Tag {
        name: Option<String>,
    }
    let body: Body = read(body)?;
    let Some(version) = body.registry_package.package_version else {
        return Ok(Vec::new());
    };
    let tag = version.container_metadata.and_then(|metadata| metadata.tag?.name);
    // One delivery per platform has no tag.
    let (Some(url), Some(tag)) = (version.package_url, tag.filter(|tag| !tag.is_empty())) else {
        return Ok(Vec::new());
    };
    let repository = url.strip_suffix(&format!(":{tag}")).unwrap_or(&url).to_owned();
    Ok(vec![Event::Image { repository, tag }])
}

/// An image in Docker Hub or a distribution registry. Any other body is that of a script.
pub fn notification(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        push_data: Option<PushData>,
        repository: Option<Repository>,
        events: Option<Vec<Notification>>,
    }
    #[derive(Deserialize)]
    struct PushData {
        tag: Option<String>,
    }
    #[derive(Deserialize)]
    struct Repository {
        repo_name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Notification {
        action: Option<String>,
        target: Option<Target>,
        request: Option<Request>,
    }
    #[derive(Deserialize)]
    struct Target {
        repository: Option<String>,
        tag: Option<String>,
    }
    #[derive(Deserialize)]
    struct Request {
        host: Option<String>,
    }
    if body.trim_ascii().is_empty() {
        return Ok(vec![Event::Request]);
    }
    let body: Body = read(body)?;
    if body.push_data.is_none() && body.events.is_none() {
        return Ok(vec![Event::Request]);
    }
    let hub = body
        .push_data
        .and_then(|data| data.tag)
        .zip(body.repository.and_then(|found| found.repo_name));
    let hub = hub.map(|(tag, repository)| Event::Image { repository, tag });
    let pushed = body.events.into_iter().flatten().filter_map(|event| {
        let target = event.target.filter(|_| event.action.as_deref() == Some("push"))?;
        let name = target.repository?;
        let host = event.request.and_then(|request| request.host);
        Some(Event::Image {
            repository: host.map_or_else(|| name.clone(), |host| format!("{host}/{name}")),
            tag: target.tag?,
        })
    });
    Ok(hub.into_iter().chain(pushed).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_registry(body: &serde_json::Value) -> Result<Vec<Event>, Refusal> {
        notification(body.to_string().as_bytes())
    }

    fn of_github(body: &serde_json::Value) -> Result<Vec<Event>, Refusal> {
        github_package(body.to_string().as_bytes())
    }

    #[test]
    fn registry_notification_names_image_and_tag() {
        let image = |repository: &str, tag: &str| Event::Image {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        };
        let hub = json!({"push_data": {"tag": "1.2"}, "repository": {"repo_name": "acme/shop"}});
        assert_eq!(of_registry(&hub).unwrap(), [image("acme/shop", "1.2")]);
        let distribution = json!({"events": [
            {"action": "push", "target": {"repository": "acme/shop", "tag": "1.2"}, "request": {"host": "r.example:5000"}},
            {"action": "push", "target": {"repository": "acme/shop"}},
            {"action": "pull", "target": {"repository": "acme/shop", "tag": "1.2"}}]});
        assert_eq!(
            of_registry(&distribution).unwrap(),
            [image("r.example:5000/acme/shop", "1.2")]
        );
        let package = |tag: &str| {
            json!({"registry_package": {"package_version": {"package_url": "ghcr.io/acme/shop:1.2",
                "container_metadata": {"tag": {"name": tag}}}}})
        };
        assert_eq!(
            of_github(&package("1.2")).unwrap(),
            [image("ghcr.io/acme/shop", "1.2")]
        );
        assert_eq!(of_github(&package("")), Ok(Vec::new()), "one platform of several");
        let pulls = json!({"events": [{"action": "pull"}]});
        assert_eq!(of_registry(&pulls), Ok(Vec::new()));
        assert_eq!(of_registry(&json!([])), Err(Refusal::Malformed));
    }

    #[test]
    fn any_other_body_is_a_request_of_a_script() {
        assert_eq!(of_registry(&json!({"by": "CI"})), Ok(vec![Event::Request]));
        assert_eq!(notification(b"\n"), Ok(vec![Event::Request]));
    }
}
