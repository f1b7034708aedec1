//! How much of the disk uploads may take: the objects of the API server are on the same one, and are written when it is nearly full.

use std::path::Path;

use super::archive::ArchiveError;

/// What uploads leave free, in bytes; of a small disk at most this part of it.
const RESERVE: u64 = 256 << 20;
const PART: u64 = 20;

/// Refuses what would leave too little of the disk of `dir`.
pub(super) fn check(dir: &Path, more: u64) -> Result<(), ArchiveError> {
    let disk = rustix::fs::statvfs(dir).map_err(|error| ArchiveError::read(error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    enough(bytes(disk.f_blocks), bytes(disk.f_bavail), more)
}

fn enough(size: u64, free: u64, more: u64) -> Result<(), ArchiveError> {
    let reserve = RESERVE.min(size / PART);
    if free.saturating_sub(reserve) < more {
        return Err(ArchiveError::NoRoom { free, reserve, more });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_leave_a_part_of_the_disk() {
        const MIB: u64 = 1 << 20;
        for (size, free, more, expected) in [
            (100_000 * MIB, 300 * MIB, 44 * MIB, None),
            (100_000 * MIB, 300 * MIB, 45 * MIB, Some(256 * MIB)),
            (100_000 * MIB, 200 * MIB, 1, Some(256 * MIB)),
            (20 * MIB, 3 * MIB, 2 * MIB, None),
            (20 * MIB, 3 * MIB, 3 * MIB, Some(MIB)),
        ] {
            let reserve = match enough(size, free, more) {
                Ok(()) => None,
                Err(ArchiveError::NoRoom { reserve, .. }) => Some(reserve),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(reserve, expected, "{size} {free} {more}");
        }
    }
}
