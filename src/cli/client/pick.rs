//! Chooses a Release by its name or number, or the one before the one that runs.

use kube::ResourceExt;

use crate::api::{Reason, Release, ReleasePhase, ReleaseStatus};
use crate::cli::failure::Failure;
use crate::subresources::nearest::advice;

/// How many Releases a message names.
const NAMED: usize = 5;

/// Returns the Release of this name or number.
///
/// # Errors
/// The Application has no such Release; the closest one is named.
pub fn pick<'r>(given: &str, application: &str, releases: &'r [Release]) -> Result<&'r Release, Failure> {
    let number: Option<i64> = given.parse().ok();
    let is_it = |release: &&Release| {
        release.name_any() == given
            || number.is_some() && status(release).is_some_and(|status| status.number == number)
    };
    releases.iter().find(is_it).ok_or_else(|| {
        let names: Vec<String> = releases.iter().rev().map(ResourceExt::name_any).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let advice = advice(given, &names, "choose one of");
        Failure::new(format!(
            "application {application} has no Release {given:?}: {advice}"
        ))
    })
}

/// Returns the Release of this name or number, if it can be gone back to.
///
/// # Errors
/// The Application has no such Release, or it never served.
pub fn pick_served<'r>(
    given: &str,
    application: &str,
    releases: &'r [Release],
) -> Result<&'r Release, Failure> {
    let found = pick(given, application, releases)?;
    if has_served(found) {
        return Ok(found);
    }
    let phase = status(found).map(|status| status.phase).unwrap_or_default();
    let names: Vec<String> = releases
        .iter()
        .rev()
        .filter(|release| has_served(release))
        .take(NAMED)
        .map(ResourceExt::name_any)
        .collect();
    let advice = if names.is_empty() {
        format!("no Release of application {application} has: deploy it with davit deploy {application}")
    } else {
        format!("choose one of {}", names.join(", "))
    };
    Err(Failure::new(format!(
        "release {} never served (its phase is {phase:?}), so there is nothing to go back to: {advice}",
        found.name_any()
    )))
}

/// Reports whether a Release has served, so that a rollback to it is not refused.
pub fn has_served(release: &Release) -> bool {
    status(release).is_some_and(|status| status.phase == ReleasePhase::Succeeded && status.image.is_some())
}

/// Reports whether the newest rollback to a Release found its image gone.
pub fn is_image_gone(release: &Release, releases: &[Release]) -> bool {
    let name = release.name_any();
    let newest = releases
        .iter()
        .rev()
        .find(|other| other.spec.rollback_to.as_deref() == Some(name.as_str()));
    let failure = newest.and_then(status).and_then(|status| status.failure.as_ref());
    failure.is_some_and(|failure| failure.reason == Reason::ImageNotFound.as_str())
}

/// Returns the Release to go back to if the user names none: the newest one before the one that runs, with another image or
/// another configuration, whose image was not found to be gone. What a rollback went back to counts as what runs.
///
/// # Errors
/// No Release fits.
pub fn before<'r>(
    application: &str,
    active: Option<&str>,
    releases: &'r [Release],
) -> Result<&'r Release, Failure> {
    let named = |name: &str| releases.iter().find(|release| release.name_any() == name);
    let mut runs = active.and_then(named).ok_or_else(|| {
        Failure::new(format!(
            "application {application} has no Release that runs, so there is nothing to go back from"
        ))
    })?;
    while let Some(earlier) = status(runs).and_then(|status| named(&status.rollback.as_ref()?.release)) {
        runs = earlier;
    }
    let number = |release: &Release| {
        status(release)
            .and_then(|status| status.number)
            .unwrap_or(i64::MAX)
    };
    let differs = |release: &&Release| {
        let of =
            |release: &Release| status(release).map(|status| (status.image.clone(), status.config.clone()));
        of(release) != of(runs)
    };
    let good = |release: &&Release| {
        has_served(release)
            && status(release).is_some_and(|status| status.rollback.is_none())
            && !is_image_gone(release, releases)
    };
    let mut earlier = releases
        .iter()
        .rev()
        .filter(|release| number(release) < number(runs));
    earlier.find(|release| good(release) && differs(release)).ok_or_else(|| {
        Failure::new(format!(
            "there is no Release of application {application} before {} that succeeded and is kept with its image: deploy an earlier commit \
             with davit deploy {application} --revision COMMIT",
            runs.name_any()
        ))
    })
}

fn status(release: &Release) -> Option<&ReleaseStatus> {
    release.status.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn release(number: i64, image: &str, more: &Value) -> Release {
        let mut status =
            json!({"number": number, "phase": "Succeeded", "image": image, "config": {"replicas": 1}});
        for (field, value) in more.as_object().unwrap() {
            status[field] = value.clone();
        }
        serde_json::from_value(json!({"apiVersion": "davit.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": format!("shop-{number}")}, "spec": {"application": "shop"}, "status": status}))
        .unwrap()
    }

    #[test]
    fn rollback_goes_to_the_newest_release_that_differs() {
        let back = |number: i64, to: &str, image: &str| {
            release(number, image, &json!({"rollback": {"release": to, "spec": "s"}}))
        };
        let releases = [
            release(1, "a", &json!({})),
            release(2, "b", &json!({})),
            release(3, "c", &json!({"phase": "Failed"})),
            release(4, "d", &json!({})),
            release(5, "d", &json!({})),
            back(6, "shop-2", "b"),
        ];
        for (active, expected) in [("shop-5", "shop-2"), ("shop-6", "shop-1"), ("shop-2", "shop-1")] {
            assert_eq!(
                before("shop", Some(active), &releases).unwrap().name_any(),
                expected,
                "{active}"
            );
        }
        let message = before("shop", Some("shop-1"), &releases).unwrap_err();
        assert!(message.message().contains("--revision"), "{}", message.message());
        assert!(before("shop", None, &releases).is_err());
    }

    #[test]
    fn rollback_passes_over_what_cannot_run() {
        let mut gone = release(
            4,
            "x",
            &json!({"phase": "Failed", "image": null, "failure": {"step": "Fetching",
            "reason": "ImageNotFound", "message": "gone"}}),
        );
        gone.spec.rollback_to = Some("shop-2".to_owned());
        let releases = [
            release(1, "a", &json!({})),
            release(2, "b", &json!({})),
            release(3, "c", &json!({})),
            gone,
            release(5, "e", &json!({"phase": "Cancelled"})),
        ];
        assert_eq!(
            before("shop", Some("shop-3"), &releases).unwrap().name_any(),
            "shop-1"
        );
        let refused = pick_served("5", "shop", &releases).unwrap_err();
        for words in ["its phase is Cancelled", "choose one of shop-3, shop-2, shop-1"] {
            assert!(refused.message().contains(words), "{}", refused.message());
        }
        assert_eq!(pick_served("2", "shop", &releases).unwrap().name_any(), "shop-2");
    }

    #[test]
    fn release_is_chosen_by_name_or_number() {
        let releases = [release(1, "a", &json!({})), release(2, "b", &json!({}))];
        for given in ["2", "shop-2"] {
            assert_eq!(pick(given, "shop", &releases).unwrap().name_any(), "shop-2");
        }
        let failure = pick("shp-2", "shop", &releases).unwrap_err();
        assert!(
            failure.message().contains("did you mean \"shop-2\"?"),
            "{}",
            failure.message()
        );
    }
}
