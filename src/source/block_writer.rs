//! Writes a file in blocks: one is written, and added to a digest, while the next one is received.

use std::fs::File;
use std::io::{self, Write as _};

use ring::digest::Context;
use tokio::task::{JoinHandle, spawn_blocking};

/// The size of a block, in bytes. Two of them are in memory.
const BLOCK: usize = 256 << 10;

/// A file that is being written. `G` is kept until the last write has ended, also if this is dropped before.
pub struct BlockWriter<G> {
    /// What was received and is not being written yet.
    block: Vec<u8>,
    state: State<G>,
}

/// What was written.
pub struct Written<G> {
    /// The file.
    pub file: File,
    /// The digest that the file was begun with, and what was written since.
    pub digest: Option<Context>,
    /// What was kept meanwhile.
    pub guard: G,
}

/// The file, and the memory of the block that was written last.
type Idle<G> = (Box<Written<G>>, Vec<u8>);

enum State<G> {
    Idle(Idle<G>),
    Writing(JoinHandle<io::Result<Idle<G>>>),
    Failed,
}

impl<G: Send + 'static> BlockWriter<G> {
    /// Writes at the end of this file.
    pub fn new(file: File, digest: Option<Context>, guard: G) -> Self {
        Self {
            block: Vec::with_capacity(BLOCK),
            state: State::Idle((Box::new(Written { file, digest, guard }), Vec::new())),
        }
    }

    /// Takes bytes. They are written when a block is full.
    ///
    /// # Errors
    /// An earlier block could not be written.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK.saturating_sub(self.block.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() >= BLOCK {
                self.write_block().await?;
            }
        }
        Ok(())
    }

    /// Writes the rest, and waits for it.
    ///
    /// # Errors
    /// A block could not be written.
    pub async fn end(mut self) -> io::Result<Written<G>> {
        if !self.block.is_empty() {
            self.write_block().await?;
        }
        let (written, _) = self.idle().await?;
        Ok(*written)
    }

    async fn write_block(&mut self) -> io::Result<()> {
        let (mut written, mut next) = self.idle().await?;
        next.clear();
        next.reserve(BLOCK);
        let block = std::mem::replace(&mut self.block, next);
        self.state = State::Writing(spawn_blocking(move || {
            written.file.write_all(&block)?;
            if let Some(digest) = &mut written.digest {
                digest.update(&block);
            }
            Ok((written, block))
        }));
        Ok(())
    }

    /// Waits until no block is being written.
    async fn idle(&mut self) -> io::Result<Idle<G>> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(idle) => Ok(idle),
            State::Writing(task) => task.await.map_err(io::Error::other)?,
            State::Failed => Err(io::Error::other("an earlier block could not be written")),
        }
    }
}
