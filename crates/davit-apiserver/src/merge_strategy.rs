//! How the lists and maps of built-in kinds merge: one table for strategic merge, server-side apply and `OpenAPI`.
//!
//! A list that is not here is replaced as a whole, a map that is not here merges key by key; so it is upstream for
//! fields without a marker. The rows come from the markers on the Go types (`patchMergeKey`, `listType`, `mapType`).

/// How one list or map of a built-in kind merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What server-side apply does.
    pub apply: Apply,
    /// What a strategic merge patch does.
    pub strategic: Strategic,
}

/// The unit of ownership in server-side apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// The whole list or map.
    Atomic,
    /// Each item of a list of scalars.
    Set,
    /// Each item of a list, told apart by these keys.
    Map(&'static [&'static str]),
}

/// What a list in a strategic merge patch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategic {
    Replace,
    Merge,
    /// Merges objects with the same value under this key.
    MergeBy(&'static str),
}

const ATOMIC: Shape = Shape {
    apply: Apply::Atomic,
    strategic: Strategic::Replace,
};

const fn keyed(keys: &'static [&'static str], strategic: Strategic) -> Shape {
    Shape {
        apply: Apply::Map(keys),
        strategic,
    }
}

type Row = (&'static str, Shape);

/// What every kind has.
const META: &[Row] = &[
    (
        "metadata.ownerReferences",
        keyed(&["uid"], Strategic::MergeBy("uid")),
    ),
    ("metadata.ownerReferences[]", ATOMIC),
    (
        "metadata.finalizers",
        Shape {
            apply: Apply::Set,
            strategic: Strategic::Merge,
        },
    ),
];

const NAMESPACE: &[Row] = &[("status.conditions", keyed(&["type"], Strategic::MergeBy("type")))];

const SERVICE_ACCOUNT: &[Row] = &[
    ("secrets", keyed(&["name"], Strategic::MergeBy("name"))),
    ("secrets[]", ATOMIC),
];

const SERVICE: &[Row] = &[
    (
        "spec.ports",
        keyed(&["port", "protocol"], Strategic::MergeBy("port")),
    ),
    ("spec.selector", ATOMIC),
    ("status.conditions", keyed(&["type"], Strategic::MergeBy("type"))),
];

const EVENT: &[Row] = &[
    ("involvedObject", ATOMIC),
    ("related", ATOMIC),
    ("regarding", ATOMIC),
];

const DEFINITION: &[Row] = &[("status.conditions", keyed(&["type"], Strategic::Replace))];

const BINDING: &[Row] = &[("roleRef", ATOMIC)];

const FLOW_SCHEMA: &[Row] = &[
    ("spec.rules", ATOMIC),
    ("status.conditions", keyed(&["type"], Strategic::MergeBy("type"))),
];

const PRIORITY_LEVEL: &[Row] = &[("status.conditions", keyed(&["type"], Strategic::MergeBy("type")))];

const CLUSTER_ROLE: &[Row] = &[("aggregationRule.clusterRoleSelectors", ATOMIC)];

/// The rows of a kind, beside those of its metadata.
fn rows(kind: &str) -> &'static [Row] {
    match kind {
        "Namespace" => NAMESPACE,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Service" => SERVICE,
        "Event" => EVENT,
        "CustomResourceDefinition" => DEFINITION,
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        "ClusterRole" => CLUSTER_ROLE,
        "FlowSchema" => FLOW_SCHEMA,
        "PriorityLevelConfiguration" => PRIORITY_LEVEL,
        _ => &[],
    }
}

/// The shape at a path such as `spec.ports`, or `spec.ports[]` for its items; none where the general rule holds.
pub fn at(kind: &str, path: &str) -> Option<Shape> {
    rows(kind)
        .iter()
        .chain(META)
        .find(|(known, _)| *known == path)
        .map(|(_, shape)| *shape)
}

/// Every path of a kind that has a shape, those of metadata included.
pub fn all(kind: &str) -> impl Iterator<Item = (&'static str, Shape)> {
    rows(kind).iter().chain(META).copied()
}
