//! Lists, whose pages name the next one in their bodies.

use super::{Bitbucket, Listing};
use crate::forge::ForgeError;
use crate::forge::api::Reply;
use crate::forge::call::{Call, at};
use crate::forge::pagination::{Collected, Cursor, Page, query_of};

impl Bitbucket {
    /// One page of a list, whose next page is named in its body.
    pub(super) async fn page<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        cursor: &Cursor,
    ) -> Result<Page<T>, ForgeError> {
        self.sized_page(call, cursor).await.map(|(page, _)| page)
    }

    async fn sized_page<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        cursor: &Cursor,
    ) -> Result<(Page<T>, usize), ForgeError> {
        let auth = self.auth().await?;
        let reply: Reply<Listing<T>> = self.api.send(&at(call, cursor), Some(&auth)).await?;
        self.api.is_page(call, reply.body.values.len())?;
        let next = reply.body.next.as_deref().and_then(query_of);
        // A page that names itself as the next one is the last.
        let next = next.filter(|query| *query != cursor.query).map(|query| Cursor {
            query,
            seen: cursor.seen + reply.body.values.len() as u64,
            part: 0,
        });
        let page = Page {
            items: reply.body.values,
            next,
            total: reply.body.size,
        };
        Ok((page, reply.size))
    }

    /// The pages of a list, at most `most_pages` of them, with this many entries each.
    pub(super) async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        call: &Call,
        entries: &str,
        most_pages: u32,
    ) -> Result<Collected<T>, ForgeError> {
        let first = Cursor::first(&[("pagelen", entries)]);
        let (mut all, mut sum) = (Collected::new(most_pages), 0);
        while all.wants_more() {
            let (page, size) = self.sized_page(call, all.cursor().unwrap_or(&first)).await?;
            self.api.add_size(call, &mut sum, size)?;
            all.add(page);
        }
        Ok(all)
    }
}
