//! Sends files to BuildKit as it asks for them. Its protocol: we list every entry in order, each with the next number;
//! the receiver asks by number for the files that it lacks; we send their bytes and, for each, an empty packet as its
//! end; when it has all, it says so and we repeat it. What is in memory at a time: paths, and a few pieces of files.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;

use bollard::fsutil::types::Packet;
use bollard::fsutil::types::packet::PacketType;
use bollard::moby::filesync::packet::file_sync_server::FileSync;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::context::Tree;
use super::context_filter::Selection;

/// Trees by name.
pub type Trees = BTreeMap<String, Tree>;

/// Pieces of files are this long, in bytes.
const PIECE: usize = 64 * 1024;
/// As many packets may wait for the receiver.
const WAITING: usize = 8;

/// Keeps the first error.
#[derive(Clone, Debug, Default)]
pub struct FirstError(Arc<Mutex<Option<io::Error>>>);

impl FirstError {
    /// Returns the first error, once.
    pub fn take(&self) -> Option<io::Error> {
        self.0.lock().take()
    }

    fn set(&self, error: io::Error) -> Status {
        let status = Status::internal(error.to_string());
        self.0.lock().get_or_insert(error);
        status
    }
}

/// The service.
#[derive(Debug)]
pub struct Files {
    trees: Trees,
    unreadable: FirstError,
}

impl Files {
    /// Offers `trees`; what cannot be read is kept in `unreadable`.
    pub fn new(trees: Trees, unreadable: FirstError) -> Self {
        Self { trees, unreadable }
    }
}

type Packets = mpsc::Sender<Result<Packet, Status>>;

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;
    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let metadata = request.metadata();
        let name = values(metadata, "dir-name").pop().unwrap_or_default();
        let tree = self
            .trees
            .get(&name)
            .ok_or_else(|| Status::not_found(format!("there is no directory {name}")))?
            .clone();
        let lists = ["followpaths", "exclude-patterns", "include-patterns"].map(|key| values(metadata, key));
        let [follow, exclude, include] = lists
            .each_ref()
            .map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
        let selection = Selection::new(|path| tree.link(path), &follow, &exclude, &include)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;

        let selection = match tree.ignore() {
            Some(ignore) => selection.without(ignore.clone()),
            None => selection,
        };
        let (packets, outgoing) = mpsc::channel(WAITING);
        let (asked, to_send) = mpsc::unbounded_channel();
        let paths = Paths::default();
        let sender = (
            tree.clone(),
            packets.clone(),
            paths.clone(),
            self.unreadable.clone(),
        );
        tokio::task::spawn_blocking(move || {
            send_stats(&sender.0, &selection, &sender.1, &sender.2, &sender.3);
        });
        let sender = (packets.clone(), self.unreadable.clone());
        tokio::task::spawn_blocking(move || send(&tree, to_send, &sender.0, &sender.1));
        tokio::spawn(listen(request.into_inner(), paths, asked, packets));
        let outgoing = futures::stream::unfold(outgoing, |mut outgoing| async move {
            outgoing.recv().await.map(|packet| (packet, outgoing))
        });
        Ok(Response::new(outgoing.boxed()))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("tar_stream"))
    }
}

/// The paths of the listed entries, by number; `None` for an entry without content.
#[derive(Clone, Default)]
struct Paths(Arc<Mutex<Vec<Option<Box<str>>>>>);

fn send_stats(tree: &Tree, selection: &Selection, packets: &Packets, paths: &Paths, unreadable: &FirstError) {
    let walked = tree.walk(selection, |stat| {
        let has_bytes = stat.mode & !0o777 == 0;
        paths.0.lock().push(has_bytes.then(|| stat.path.as_str().into()));
        packets
            .blocking_send(Ok(Packet {
                r#type: PacketType::PacketStat.into(),
                stat: Some(stat),
                ..Packet::default()
            }))
            .is_ok()
    });
    // An entry without content ends the list. Sending fails only if the receiver was dropped.
    let _ = packets.blocking_send(match walked {
        Ok(()) => Ok(Packet {
            r#type: PacketType::PacketStat.into(),
            ..Packet::default()
        }),
        Err(error) => Err(unreadable.set(error)),
    });
}

fn send(
    tree: &Tree,
    mut asked: mpsc::UnboundedReceiver<(u32, Box<str>)>,
    packets: &Packets,
    unreadable: &FirstError,
) {
    let data = |id, data| Packet {
        r#type: PacketType::PacketData.into(),
        id,
        data,
        stat: None,
    };
    while let Some((id, path)) = asked.blocking_recv() {
        let sent = tree.open(&path).and_then(|mut file| {
            loop {
                let mut piece = vec![0; PIECE];
                let count = file.read(&mut piece)?;
                piece.truncate(count);
                // The empty one after the last is the end of the file.
                if packets.blocking_send(Ok(data(id, piece))).is_err() || count == 0 {
                    return Ok(());
                }
            }
        });
        if let Err(error) = sent {
            let error = io::Error::new(error.kind(), format!("{path}: {error}"));
            let _ = packets.blocking_send(Err(unreadable.set(error)));
            return;
        }
    }
}

async fn listen(
    mut incoming: Streaming<Packet>,
    paths: Paths,
    asked: mpsc::UnboundedSender<(u32, Box<str>)>,
    packets: Packets,
) {
    while let Some(Ok(packet)) = incoming.next().await {
        match packet.r#type() {
            PacketType::PacketReq => {
                let path = paths.0.lock().get(packet.id as usize).cloned().flatten();
                let Some(path) = path else {
                    let _ = packets.send(Err(Status::invalid_argument("no such file"))).await;
                    return;
                };
                if asked.send((packet.id, path)).is_err() {
                    return;
                }
            }
            PacketType::PacketFin => {
                let _ = packets
                    .send(Ok(Packet {
                        r#type: PacketType::PacketFin.into(),
                        ..Packet::default()
                    }))
                    .await;
                return;
            }
            PacketType::PacketErr => return,
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
}

/// All values of a key; `key-encoded` says that they are encoded as in a query.
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let encoded = metadata.contains_key(format!("{key}-encoded"));
    metadata
        .get_all(key)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(|value| {
            if encoded {
                let mut pairs = url::form_urlencoded::parse(value.as_bytes());
                pairs
                    .next()
                    .map(|(text, _)| text.into_owned())
                    .unwrap_or_default()
            } else {
                value.to_owned()
            }
        })
        .collect()
}
