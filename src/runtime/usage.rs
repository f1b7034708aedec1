//! What replicas use.

use std::time::Duration;

use jiff::Timestamp;

/// What one replica uses, and has used since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The ID of the replica in the runtime.
    pub id: String,
    /// Its name in the runtime.
    pub name: String,
    /// Its Release.
    pub release: String,
    /// When this was measured.
    pub at: Timestamp,
    /// What it uses of the CPU.
    pub cpu: CpuUsage,
    /// The most CPU that it may use, in nano-cores.
    pub cpu_limit: Option<u64>,
    /// Memory without the cache of files, in bytes.
    pub memory: u64,
    /// The most memory that it may use, in bytes.
    pub memory_limit: Option<u64>,
    /// Bytes received from and sent to the network since it started.
    pub network: Option<Traffic>,
    /// Bytes read from and written to disks since it started.
    pub block: Option<Traffic>,
    /// How many times it was started again.
    pub restarts: u64,
}

/// The use of the CPU, as a runtime measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuUsage {
    /// The CPU time since the replica started; a rate follows from two measurements.
    Total(Duration),
    /// Nano-cores on average of the last seconds.
    Rate(u64),
}

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received or read.
    pub r#in: u64,
    /// Sent or written.
    pub out: u64,
}
