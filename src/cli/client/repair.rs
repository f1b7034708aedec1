//! What a user can do after a Release has failed. Pure.

use kube::ResourceExt as _;

use crate::api::{Application, Release, ReleasePhase, ReleaseSpec, ReleaseType, Source, SourceKind};

/// What the user can do after the failure of the newest Release: where it is explained, and the command that tries again.
pub fn after_failure(application: &Application, latest: Option<&Release>, namespace: &str) -> String {
    let name = application.name_any();
    let failed = latest.filter(|latest| {
        let status = latest.status.as_ref();
        status.is_some_and(|status| status.phase == ReleasePhase::Failed)
    });
    let step = failed
        .and_then(|latest| latest.status.as_ref()?.failure.as_ref())
        .map(|failure| failure.step.as_str())
        .unwrap_or_default();
    let details = match (step, latest) {
        ("Building" | "Pushing", _) => format!("davit logs {name} --build -n {namespace}"),
        ("PreDeploy", _) => format!("davit logs {name} --hook -n {namespace}"),
        (_, Some(latest)) => format!("kubectl describe rel {} -n {namespace}", latest.name_any()),
        (_, None) => format!("kubectl describe dapp {name} -n {namespace}"),
    };
    let is_upload = application
        .spec
        .source
        .as_ref()
        .and_then(Source::kind)
        .is_some_and(|kind| matches!(kind, SourceKind::Drop(_)));
    let asked = failed.map(|latest| &latest.spec);
    let again = match asked {
        Some(spec) if spec.kind == ReleaseType::Rollback => {
            format!("go back to another Release: davit rollback {name} RELEASE -n {namespace}")
        }
        // The same upload would fail again.
        _ if is_upload && step == "Building" => {
            format!("upload again: davit drop {name} DIRECTORY -n {namespace}")
        }
        Some(ReleaseSpec {
            revision: Some(revision),
            ..
        }) => {
            format!("deploy: davit deploy {name} --revision {revision} -n {namespace}")
        }
        _ => format!("deploy: davit deploy {name} -n {namespace}"),
    };
    format!("solve what the status names, then {again} (details: {details})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failure_leads_to_what_explains_and_what_repairs_it() {
        let git = json!({"git": {"url": "https://host/a.git"}});
        let upload = json!({"drop": {"digest": format!("sha256:{}", "a".repeat(64))}});
        for (source, spec, step, words) in [
            (
                &git,
                json!({"application": "shop"}),
                "Building",
                ["davit deploy shop -n prod", "davit logs shop --build -n prod"],
            ),
            (
                &upload,
                json!({"application": "shop"}),
                "Building",
                ["davit drop shop DIRECTORY", "davit logs shop --build"],
            ),
            (
                &upload,
                json!({"application": "shop"}),
                "PreDeploy",
                ["davit deploy shop", "davit logs shop --hook"],
            ),
            (
                &git,
                json!({"application": "shop", "revision": "abc"}),
                "Fetching",
                ["davit deploy shop --revision abc", "kubectl describe rel shop-2"],
            ),
            (
                &git,
                json!({"application": "shop", "type": "Rollback", "rollbackTo": "shop-1"}),
                "Fetching",
                ["davit rollback shop RELEASE", "kubectl describe rel shop-2"],
            ),
        ] {
            let application: Application = serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1",
                "kind": "Application", "metadata": {"name": "shop"}, "spec": {"source": source}}))
            .unwrap();
            let release: Release =
                serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
                "metadata": {"name": "shop-2"}, "spec": spec, "status": {"phase": "Failed",
                "failure": {"step": step, "reason": "BuildFailed", "message": "no"}}}))
                .unwrap();
            let next = after_failure(&application, Some(&release), "prod");
            for word in words {
                assert!(next.contains(word), "{word} in {next}");
            }
        }
    }
}
