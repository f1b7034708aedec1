//! Kubernetes quantities of a spec as the numbers that engines take. `ApplicationSpec::check` has refused invalid ones.

use crate::api::{Amounts, Quantity, Resources};

/// What a container may use, and what is set aside for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Nano-cores at most; `None` without a limit.
    pub cpu: Option<u64>,
    /// Nano-cores if not every container gets what it wants.
    pub cpu_request: Option<u64>,
    /// Bytes at most; `None` without a limit.
    pub memory: Option<u64>,
    /// Bytes if not every container gets what it wants.
    pub memory_reservation: Option<u64>,
}

/// Returns the share that `spec.resources` requests.
pub fn share(resources: Option<&Resources>) -> Share {
    let (cpu, memory) = amounts(resources.and_then(|resources| resources.limits.as_ref()));
    let (cpu_request, memory_reservation) =
        amounts(resources.and_then(|resources| resources.requests.as_ref()));
    Share {
        cpu,
        cpu_request,
        memory,
        memory_reservation,
    }
}

/// Returns nano-cores and bytes.
pub fn amounts(amounts: Option<&Amounts>) -> (Option<u64>, Option<u64>) {
    let cpu = amounts.and_then(|amounts| amounts.cpu.as_ref());
    let memory = amounts.and_then(|amounts| amounts.memory.as_ref());
    (
        cpu.and_then(Quantity::nano_cores),
        memory.and_then(Quantity::bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_limits_become_numbers_of_their_own() {
        let resources = serde_json::json!({
            "requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "128Mi"}});
        let resources: Resources = serde_json::from_value(resources).unwrap();
        let all = Share {
            cpu: Some(1_000_000_000),
            cpu_request: Some(250_000_000),
            memory: Some(128 << 20),
            memory_reservation: Some(64 << 20),
        };
        assert_eq!(share(Some(&resources)), all);
        let none = Share {
            cpu: None,
            cpu_request: None,
            memory: None,
            memory_reservation: None,
        };
        assert_eq!(share(None), none);
    }
}
