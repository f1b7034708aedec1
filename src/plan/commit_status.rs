//! The status of a commit that is reported to its forge: one for each Application, and only when it is another one.

use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::api::{CommitReport, ReleasePhase, ReleaseStatus};
use crate::model::{AppId, CommitId, CommitState, CommitStatus};

use super::checks::OWN;
use super::input::PlanInput;
use super::record::Records;

/// How long a success waits for the address that it links to.
const LINK_WITHIN: SignedDuration = SignedDuration::from_mins(1);
/// The most characters of a description that every forge accepts.
const LONGEST: usize = 140;

/// A status that has to be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The name of the Release that it is about.
    pub release: String,
    /// The UID of that Release, if it existed before this reconcile.
    pub uid: Option<String>,
    /// The commit.
    pub commit: CommitId,
    /// The status.
    pub status: CommitStatus,
}

/// Returns the statuses that the forge does not have yet, the oldest first. If an address may be seen to answer `soon`, a success waits for
/// it, because it is reported once, with the link.
pub fn due(
    id: &AppId,
    input: &PlanInput<'_>,
    records: &Records,
    urls: &[String],
    soon: bool,
    now: Timestamp,
) -> Vec<Due> {
    let repository = |status: &ReleaseStatus| status.inputs.get("source.repository").cloned();
    let Some(desired) = input.desired.known() else {
        return Vec::new();
    };
    let own = desired.inputs.get("source.repository");
    let all = records.in_order();
    // A Release of another repository is unknown to this forge.
    let of_repository: Vec<_> = all
        .iter()
        .filter(|(_, status)| own.is_some() && repository(status).as_ref() == own)
        .collect();
    let revision = |status: &ReleaseStatus| status.source.as_ref().map(|source| source.revision.clone());
    let Some((newest, _)) = of_repository.last() else {
        return Vec::new();
    };
    of_repository
        .iter()
        .enumerate()
        .filter_map(|(place, (name, release))| {
            // What was deployed before the forge could be told is left as it is.
            let is_followed = name == newest || release.commit_status.is_some();
            // The newest Release of a commit decides.
            let later = of_repository.get(place + 1..).unwrap_or_default();
            let is_last = later
                .iter()
                .all(|(_, later)| revision(later) != revision(release));
            let (report, state, description) = wanted(name, release);
            if !is_followed || !is_last || release.commit_status == Some(report) {
                return None;
            }
            let waits = soon && state == CommitState::Success && public(urls).is_none();
            if waits && is_recent(release, now) {
                return None;
            }
            let release_of = input.releases.iter().find(|view| view.name == *name);
            Some(Due {
                release: name.clone(),
                uid: release_of.map(|view| view.uid.clone()),
                commit: CommitId::parse(&revision(release)?)?,
                status: CommitStatus {
                    context: format!("{OWN}{id}"),
                    state,
                    description: crate::error::cut(&description, LONGEST),
                    url: public(urls).filter(|_| state == CommitState::Success),
                },
            })
        })
        .collect()
}

/// Records that a forge has accepted the status of a Release.
pub fn record(
    records: &mut Records,
    input: &PlanInput<'_>,
    release: &str,
    uid: Option<&str>,
    report: CommitReport,
) {
    let view = input.releases.iter().find(|view| view.name == release);
    let is_same = view.is_some_and(|view| uid.is_none_or(|uid| uid == view.uid));
    if let Some(status) = records.statuses.get_mut(release).filter(|_| is_same) {
        status.commit_status = Some(report);
    }
}

fn wanted(name: &str, release: &ReleaseStatus) -> (CommitReport, CommitState, String) {
    let failure = || {
        release
            .failure
            .as_ref()
            .map_or("failed", |failure| failure.reason.as_str())
    };
    match release.phase {
        ReleasePhase::Succeeded => (
            CommitReport::Success,
            CommitState::Success,
            format!("Release {name} is deployed"),
        ),
        ReleasePhase::Failed => (
            CommitReport::Failure,
            CommitState::Failure,
            format!("Release {name}: {}", failure()),
        ),
        ReleasePhase::Cancelled => (
            CommitReport::Failure,
            CommitState::Failure,
            format!("Release {name} was cancelled"),
        ),
        ReleasePhase::Superseded => (
            CommitReport::Failure,
            CommitState::Failure,
            format!("A newer release took the place of {name}"),
        ),
        ReleasePhase::Pending
        | ReleasePhase::Fetching
        | ReleasePhase::Building
        | ReleasePhase::Pushing
        | ReleasePhase::Deploying
        | ReleasePhase::Verifying => (
            CommitReport::Pending,
            CommitState::Pending,
            format!("Release {name} is under way"),
        ),
    }
}

/// Reports whether a Release has just ended.
fn is_recent(release: &ReleaseStatus, now: Timestamp) -> bool {
    let ended = release
        .finished_at
        .as_deref()
        .and_then(|at| at.parse::<Timestamp>().ok());
    ended.is_some_and(|ended| now.duration_since(ended) < LINK_WITHIN)
}

/// The first address that others can reach too.
fn public(urls: &[String]) -> Option<String> {
    let is_public = |text: &&String| {
        Url::parse(text).is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default();
            matches!(url.scheme(), "http" | "https")
                && !matches!(host, "" | "localhost" | "127.0.0.1" | "[::1]")
        })
    };
    urls.iter().find(is_public).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_waits_for_its_link_for_a_minute() {
        let release = |finished_at: Option<&str>| ReleaseStatus {
            finished_at: finished_at.map(str::to_owned),
            ..ReleaseStatus::default()
        };
        let now = "2026-11-29T12:01:00Z".parse().unwrap();
        for (ended, expected) in [
            (Some("2026-11-29T12:00:30Z"), true),
            (Some("2026-11-29T12:00:00Z"), false),
            (None, false),
        ] {
            assert_eq!(is_recent(&release(ended), now), expected, "{ended:?}");
        }
    }

    #[test]
    fn only_an_address_that_others_reach_is_a_link() {
        let all = |urls: &[&str]| public(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>());
        assert_eq!(all(&["http://localhost:8080", "http://127.0.0.1:1"]), None);
        assert_eq!(all(&["tcp://shop.example.com:1"]), None);
        assert_eq!(
            all(&["http://localhost:8080", "https://shop.example.com"]).as_deref(),
            Some("https://shop.example.com")
        );
    }
}
