//! Any order and loss of deliveries leads to the same previews.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{World, commit, fork, pull_request};
use crate::model::PullRequest;
use crate::plan::preview::name;

/// What happens at the forge, or between it and Davit.
#[derive(Clone, Debug)]
enum Happening {
    Open {
        number: u64,
        is_fork: bool,
        is_draft: bool,
        labelled: bool,
    },
    Close(u64),
    Push(u64, u64),
    Approve(u64, u64),
    /// A delivery arrives, or a poll: Davit looks at what there is now.
    Look,
    /// A user changes or deletes a preview.
    Tamper(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (1..8u64, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(number, is_fork, is_draft, labelled)| {
                Happening::Open {
                    number,
                    is_fork,
                    is_draft,
                    labelled,
                }
            }
        ),
        (1..8u64).prop_map(Happening::Close),
        (1..8u64, 10..14u64).prop_map(|(number, commit)| Happening::Push(number, commit)),
        (1..8u64, 10..14u64).prop_map(|(number, commit)| Happening::Approve(number, commit)),
        Just(Happening::Look),
        (1..8u64).prop_map(Happening::Tamper),
    ]
}

/// Lets everything happen; Davit looks when `looks` allows it, and once at the end.
fn live(previews: &Value, happenings: &[Happening], looks: impl Fn(usize) -> bool) -> World {
    let mut world = World::new(previews, Vec::new());
    let mut approvals: Vec<(u64, u64, &str)> = Vec::new();
    for (place, happening) in happenings.iter().enumerate() {
        match happening {
            Happening::Open {
                number,
                is_fork,
                is_draft,
                labelled,
            } => {
                if !world.pull_requests.iter().any(|found| found.number == *number) {
                    let opened = if *is_fork {
                        fork(*number)
                    } else {
                        pull_request(*number)
                    };
                    world.pull_requests.push(PullRequest {
                        is_draft: *is_draft,
                        labels: labelled.then(|| "preview".to_owned()).into_iter().collect(),
                        ..opened
                    });
                }
            }
            Happening::Close(number) => world.pull_requests.retain(|found| found.number != *number),
            Happening::Push(number, to) => {
                for found in world
                    .pull_requests
                    .iter_mut()
                    .filter(|found| found.number == *number)
                {
                    found.head = commit(*to).as_str().to_owned();
                }
            }
            Happening::Approve(number, at) => approvals.push((*number, *at, "jane")),
            Happening::Look if looks(place) => world.settle(&approvals),
            Happening::Look => {}
            Happening::Tamper(number) => {
                let name = name("shop", *number);
                for child in world
                    .children
                    .iter_mut()
                    .filter(|child| child.metadata.name.as_ref() == Some(&name))
                {
                    child.spec.replicas = 9;
                }
            }
        }
    }
    world.settle(&approvals);
    world
}

/// Everything about the previews but those of forks whose newest commit is not approved: what runs there was approved before,
/// and whether Davit saw that depends on when it looked.
fn certain(world: &World) -> BTreeMap<String, String> {
    let is_certain = |name: &String| {
        let of = |found: &&PullRequest| crate::plan::preview::name("shop", found.number) == *name;
        world
            .pull_requests
            .iter()
            .find(of)
            .is_none_or(|found| !found.is_fork)
    };
    world
        .running()
        .into_iter()
        .filter(|(name, _)| is_certain(name))
        .collect()
}

proptest! {
    #[test]
    fn any_order_and_loss_of_deliveries_leads_to_the_same_previews(
        happenings in proptest::collection::vec(happening(), 0..40),
        lost in proptest::collection::vec(any::<bool>(), 40),
        limit in 1..9i32,
        labelled in any::<bool>(),
        drafts in any::<bool>(),
    ) {
        let labels = if labelled { json!(["preview"]) } else { json!([]) };
        for allow_forks in [false, true] {
            // Without a limit that an approved fork could use up at one time and not at another.
            let limit = if allow_forks { 20 } else { limit };
            let previews = json!({"limit": limit, "labels": labels, "drafts": drafts, "allowForks": allow_forks});
            let all = live(&previews, &happenings, |_| true);
            let none = live(&previews, &happenings, |_| false);
            let some = live(&previews, &happenings, |place| !lost[place]);
            prop_assert_eq!(certain(&all), certain(&none));
            prop_assert_eq!(certain(&all), certain(&some));
            for world in [&all, &none, &some] {
                prop_assert!(world.children.len() <= usize::try_from(limit).unwrap());
                prop_assert!(world.children.iter().all(|child| child.spec.replicas == 1));
            }
        }
    }
}
