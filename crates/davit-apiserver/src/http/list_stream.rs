//! Large lists as a stream: an answer takes the memory of a chunk, not of the list.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::Arc,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::stream;
use http::{HeaderValue, Response, header};
use serde_json::Value;

use super::{
    negotiation::{Format, Shape},
    response::{Presenter, document},
};
use crate::{protobuf, store::Object};

/// From how many bytes on a list is streamed.
const FROM: usize = 1 << 20;
/// How many bytes one chunk aims for, before compression.
const CHUNK: usize = 128 << 10;

/// The answer with a large list of objects; `None` for a small list and for other forms.
pub fn answer(
    presenter: &Presenter,
    objects: &[Arc<Object>],
    metadata: &Value,
    warnings: &[String],
) -> Option<Response<Body>> {
    let accept = presenter.accept;
    let size: usize = objects.iter().map(|object| object.json().len()).sum();
    if !matches!(accept.shape, Shape::Whole | Shape::Metadata(_)) || size < FROM {
        return None;
    }
    let head = match accept.format {
        Format::Json if !accept.pretty => presenter.list_head(metadata),
        Format::Protobuf => protobuf_head(presenter, objects, metadata)?,
        _ => return None,
    };
    let mut response = document(accept, 200, Bytes::new(), warnings);
    if accept.gzip {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let chunks = Chunks {
        presenter: presenter.clone(),
        head,
        objects: objects.iter().cloned().collect(),
        gzip: accept
            .gzip
            .then(|| GzEncoder::new(Vec::new(), Compression::fast())),
        state: State::Head,
    };
    *response.body_mut() = Body::from_stream(stream::iter(chunks));
    Some(response)
}

/// A protobuf list begins with its length, so each item is written twice: once to be measured.
fn protobuf_head(presenter: &Presenter, objects: &[Arc<Object>], metadata: &Value) -> Option<Vec<u8>> {
    let (mut length, mut item) = (0, Vec::new());
    for object in objects {
        item.clear();
        presenter.protobuf_item(object, &mut item)?;
        length += item.len();
    }
    presenter.protobuf_head(metadata, length)
}

#[derive(PartialEq, Eq)]
enum State {
    Head,
    Items,
    Ended,
}

struct Chunks {
    presenter: Presenter,
    head: Vec<u8>,
    objects: VecDeque<Arc<Object>>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    state: State,
}

impl Chunks {
    /// The next part of the list, uncompressed.
    fn part(&mut self) -> BytesMut {
        let mut out = BytesMut::with_capacity(CHUNK + (16 << 10));
        let is_protobuf = self.presenter.accept.format == Format::Protobuf;
        let mut first = false;
        if self.state == State::Head {
            out.extend_from_slice(&self.head);
            (self.state, first) = (State::Items, true);
        }
        while out.len() < CHUNK {
            let Some(object) = self.objects.pop_front() else {
                out.extend_from_slice(if is_protobuf { protobuf::END } else { b"]}" });
                self.state = State::Ended;
                break;
            };
            if is_protobuf {
                let mut item = Vec::new();
                // The measuring has shown that every item can be written.
                let _ = self.presenter.protobuf_item(&object, &mut item);
                out.extend_from_slice(&item);
                continue;
            }
            if !std::mem::take(&mut first) {
                out.extend_from_slice(b",");
            }
            self.presenter.list_item(&object, &mut out);
        }
        out
    }

    fn compressed(&mut self, mut encoder: GzEncoder<Vec<u8>>) -> io::Result<Bytes> {
        loop {
            let part = self.part();
            encoder.write_all(&part)?;
            if self.state == State::Ended {
                return encoder.finish().map(Bytes::from);
            }
            if !encoder.get_ref().is_empty() {
                let ready = std::mem::take(encoder.get_mut());
                self.gzip = Some(encoder);
                return Ok(ready.into());
            }
        }
    }
}

impl Iterator for Chunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.state == State::Ended {
            return None;
        }
        Some(match self.gzip.take() {
            Some(encoder) => self.compressed(encoder),
            None => Ok(self.part().freeze()),
        })
    }
}
