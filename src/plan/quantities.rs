//! Kubernetes quantities of a spec as the numbers that engines take.

use crate::api::{Amounts, Reason, Resources};
use crate::error::{Class, Problem};

/// What a container may use, and what is set aside for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Nano-cores at most; nothing for no limit.
    pub cpu: Option<u64>,
    /// Nano-cores where not everybody gets all.
    pub cpu_request: Option<u64>,
    /// Bytes at most; nothing for no limit.
    pub memory: Option<u64>,
    /// Bytes where not everybody gets all.
    pub memory_reservation: Option<u64>,
}

/// The share that `spec.resources` asks for.
///
/// # Errors
/// An invalid amount, or a request above its limit.
pub fn share(resources: Option<&Resources>) -> Result<Share, Problem> {
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let (cpu, memory) = amounts(limits, "spec.resources.limits")?;
    let (cpu_request, memory_reservation) = amounts(requests, "spec.resources.requests")?;
    if let (Some(limit), Some(request)) = (cpu, cpu_request)
        && request > limit
    {
        return Err(Problem::new(
            Class::Terminal,
            Reason::InvalidQuantity,
            "spec.resources.requests.cpu is more than limits.cpu: lower it",
        ));
    }
    if let (Some(limit), Some(request)) = (memory, memory_reservation)
        && request > limit
    {
        return Err(Problem::new(
            Class::Terminal,
            Reason::InvalidQuantity,
            "spec.resources.requests.memory is more than limits.memory: lower it",
        ));
    }
    Ok(Share {
        cpu,
        cpu_request,
        memory,
        memory_reservation,
    })
}

/// Nano-cores and bytes.
///
/// # Errors
/// The amount is invalid; the message names its field.
pub fn amounts(amounts: Option<&Amounts>, field: &str) -> Result<(Option<u64>, Option<u64>), Problem> {
    let Some(amounts) = amounts else {
        return Ok((None, None));
    };
    let bad = |name: &str, text: &dyn std::fmt::Display, way_out: &str| {
        Problem::new(
            Class::Terminal,
            Reason::InvalidQuantity,
            format!("{field}.{name} {text} {way_out}"),
        )
    };
    let cpu = amounts
        .cpu
        .as_ref()
        .map(|quantity| {
            let milli = quantity.milli().filter(|milli| (1..=1_000_000).contains(milli));
            milli
                .and_then(|milli| u64::try_from(milli * 1_000_000).ok())
                .ok_or_else(|| {
                    bad(
                        "cpu",
                        quantity,
                        "is not an amount of cpu: write cores as 250m, 1 or 1.5",
                    )
                })
        })
        .transpose()?;
    let memory = amounts
        .memory
        .as_ref()
        .map(|quantity| {
            let bytes = quantity.whole().and_then(|bytes| u64::try_from(bytes).ok());
            // The engine refuses less than 6 MiB.
            bytes
                .filter(|bytes| *bytes >= 6 * 1024 * 1024 && *bytes < 1 << 50)
                .ok_or_else(|| bad("memory", quantity, "is not an amount of memory that can be used: write at least 6Mi, such as 128Mi or 1G"))
        })
        .transpose()?;
    Ok((cpu, memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_with_its_field() {
        for (resources, words) in [
            (
                serde_json::json!({"limits": {"cpu": "0"}}),
                "spec.resources.limits.cpu 0",
            ),
            (
                serde_json::json!({"requests": {"memory": "1Mi"}}),
                "spec.resources.requests.memory 1Mi",
            ),
            (
                serde_json::json!({"requests": {"cpu": 2}, "limits": {"cpu": 1}}),
                "spec.resources.requests.cpu is more than limits.cpu",
            ),
            (
                serde_json::json!({"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}),
                "spec.resources.requests.memory is more than limits.memory",
            ),
        ] {
            let resources: Resources = serde_json::from_value(resources).unwrap();
            let problem = share(Some(&resources)).unwrap_err();
            assert_eq!(problem.reason, Reason::InvalidQuantity);
            assert!(problem.message.contains(words), "{}", problem.message);
        }
        let resources = serde_json::json!({"requests": {"cpu": "250m"}, "limits": {"memory": "128Mi"}});
        let resources: Resources = serde_json::from_value(resources).unwrap();
        let found = share(Some(&resources)).unwrap();
        assert_eq!((found.cpu, found.cpu_request), (None, Some(250_000_000)));
        assert_eq!((found.memory, found.memory_reservation), (Some(128 << 20), None));
    }
}
