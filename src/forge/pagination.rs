//! Lists in pages: the cursor of the next page from `Link`, `X-Total-Count` or the length of the page. Pure.

use http::header::{HeaderMap, LINK};
use serde::{Deserialize, Serialize};

/// The most entries of a page that is asked for; every forge allows it or cuts it down to its own limit.
pub(super) const PAGE_SIZE: &str = "100";

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its entries.
    pub items: Vec<T>,
    /// Where the next page begins; `None` for the last one.
    pub next: Option<Cursor>,
    /// The length of the whole list, if the forge reports it.
    pub total: Option<u64>,
}

impl<T> Page<T> {
    /// The same page with other entries.
    pub(super) fn map<U>(self, map: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(map).collect(),
            next: self.next,
            total: self.total,
        }
    }

    /// The same page with other entries, without those that `map` drops.
    pub(super) fn try_map<U, E>(self, map: impl FnMut(T) -> Option<Result<U, E>>) -> Result<Page<U>, E> {
        Ok(Page {
            items: self.items.into_iter().filter_map(map).collect::<Result<_, E>>()?,
            next: self.next,
            total: self.total,
        })
    }
}

/// The entries of a list, read page by page up to a number of pages.
#[derive(Debug)]
pub(super) struct Collected<T> {
    items: Vec<T>,
    cursor: Option<Cursor>,
    pages_left: u32,
    is_complete: bool,
}

impl<T> Collected<T> {
    /// A list of which no page was read.
    pub(super) fn new(most_pages: u32) -> Self {
        Self {
            items: Vec::new(),
            cursor: None,
            pages_left: most_pages,
            is_complete: false,
        }
    }

    /// Reports whether there is another page to read.
    pub(super) fn wants_more(&self) -> bool {
        !self.is_complete && self.pages_left > 0
    }

    /// Where the next page begins; `None` for the first one.
    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Adds a page. A page that names itself as the next one is the last.
    pub(super) fn add(&mut self, page: Page<T>) {
        self.items.extend(page.items);
        self.pages_left = self.pages_left.saturating_sub(1);
        self.is_complete = page.next.is_none() || page.next == self.cursor;
        self.cursor = page.next;
    }

    /// The entries of all pages; `None` if pages are left.
    pub(super) fn complete(self) -> Option<Vec<T>> {
        self.is_complete.then_some(self.items)
    }

    /// The entries of the pages that were read.
    pub(super) fn so_far(self) -> Vec<T> {
        self.items
    }
}

/// The beginning of a page. Opaque to callers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The query of the request for it.
    pub(super) query: Vec<(String, String)>,
    /// How many entries came before it.
    pub(super) seen: u64,
    /// Which of several lists it belongs to.
    pub(super) part: usize,
}

impl Cursor {
    /// The beginning of a list.
    pub(super) fn first(query: &[(&str, &str)]) -> Self {
        let query = query
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self {
            query: query.collect(),
            seen: 0,
            part: 0,
        }
    }

    fn page_number(&self) -> u64 {
        let page = self.query.iter().find(|(key, _)| key == "page");
        page.and_then(|(_, value)| value.parse().ok()).unwrap_or(1)
    }
}

/// How a forge tells that a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paging {
    /// By `Link` alone.
    Links,
    /// By `Link`, or without that header by the number of the page: a proxy may drop the header.
    LinksOrNumbers,
}

/// The cursor after a page of `length` entries at `cursor`. Servers cut the size of a page, so a short page does not
/// mean the last one: the list ends where `Link` names no next page, at the total, or at an empty page.
pub(super) fn next(cursor: &Cursor, headers: &HeaderMap, length: usize, paging: Paging) -> Option<Cursor> {
    let seen = cursor.seen + length as u64;
    if length == 0 || total(headers).is_some_and(|total| seen >= total) {
        return None;
    }
    let query = if paging == Paging::Links || headers.contains_key(LINK) {
        next_link(headers)?
    } else {
        let mut query = cursor.query.clone();
        query.retain(|(key, _)| key != "page");
        query.push(("page".to_owned(), (cursor.page_number() + 1).to_string()));
        query
    };
    // A page that names itself as the next one is the last.
    if query == cursor.query {
        return None;
    }
    Some(Cursor {
        query,
        seen,
        part: cursor.part,
    })
}

/// The length of the whole list, if the forge reports it.
pub(super) fn total(headers: &HeaderMap) -> Option<u64> {
    ["x-total-count", "x-total"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok()?.parse().ok())
}

/// The query of the page that `Link` names as the next one (RFC 8288). Only the query counts: behind a proxy the host in
/// it is often wrong, and the credential stays at the base URL.
fn next_link(headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    query_of(link(headers, "next")?)
}

/// The number of the last page that `Link` names: with pages of one entry, the length of the list.
pub(super) fn last_page(headers: &HeaderMap) -> Option<u64> {
    let query = query_of(link(headers, "last")?)?;
    query.iter().find(|(key, _)| key == "page")?.1.parse().ok()
}

/// The query of an absolute URL.
pub(super) fn query_of(url: &str) -> Option<Vec<(String, String)>> {
    let (_, query) = url.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    Some(
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
    )
}

/// The target of the link with this relation.
fn link<'h>(headers: &'h HeaderMap, relation: &str) -> Option<&'h str> {
    let values = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok());
    for link in values.flat_map(|value| value.split(", <").flat_map(|part| part.split(",<"))) {
        let link = link.trim();
        let Some((target, parameters)) = link.strip_prefix('<').unwrap_or(link).split_once('>') else {
            continue;
        };
        let matches = parameters.split(';').any(|parameter| {
            let (key, value) = parameter.trim().split_once('=').unwrap_or_default();
            key.eq_ignore_ascii_case("rel")
                && value.trim_matches('"').split(' ').any(|found| found == relation)
        });
        if matches {
            return Some(target);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn joined(query: Option<Vec<(String, String)>>) -> Option<String> {
        let pair = |(key, value): &(String, String)| format!("{key}={value}");
        query.map(|query| query.iter().map(pair).collect::<Vec<_>>().join("&"))
    }

    #[test]
    fn link_header_names_the_next_page() {
        for (link, query) in [
            (
                r#"<https://h/a?page=2&limit=50>; rel="next",<https://h/a?page=9>; rel="last""#,
                Some("page=2&limit=50"),
            ),
            (
                r#"<https://h/a?page=1>; rel="prev", <https://h/a?cursor=x%26y>; title="n"; rel=next"#,
                Some("cursor=x&y"),
            ),
            (
                r#"<https://h/a?ids=1,2&page=3>; rel="next""#,
                Some("ids=1,2&page=3"),
            ),
            (r#"<https://h/a?page=1>; rel="first""#, None),
            ("no link at all", None),
            (r#"<https://h/a>; rel="next""#, None),
        ] {
            let found = joined(next_link(&headers(&[("link", link)])));
            assert_eq!(found.as_deref(), query, "{link}");
        }
        let both =
            r#"<https://h/a?page=2&per_page=1>; rel="next", <https://h/a?page=53&per_page=1>; rel="last""#;
        assert_eq!(last_page(&headers(&[("link", both)])), Some(53));
    }

    #[test]
    fn collected_list_is_complete_only_with_its_last_page() {
        let page = |number: u32, next: Option<&str>| Page {
            items: vec![number],
            next: next.map(|next| Cursor::first(&[("page", next)])),
            total: None,
        };
        for (most, pages, complete, so_far) in [
            (
                5,
                vec![page(1, Some("2")), page(2, None)],
                Some(vec![1, 2]),
                vec![1, 2],
            ),
            (
                5,
                vec![page(1, Some("2")), page(2, Some("2"))],
                Some(vec![1, 2]),
                vec![1, 2],
            ),
            (2, vec![page(1, Some("2")), page(2, Some("3"))], None, vec![1, 2]),
        ] {
            let collect = || {
                let mut list = Collected::new(most);
                let mut pages = pages.iter();
                while list.wants_more() {
                    list.add(pages.next().expect("another page is asked for").clone());
                }
                assert_eq!(pages.next(), None, "a page is left");
                list
            };
            assert_eq!(collect().complete(), complete);
            assert_eq!(collect().so_far(), so_far);
        }
    }

    #[test]
    fn list_without_links_ends_at_its_total_or_an_empty_page() {
        let next = |cursor: &Cursor, headers: &HeaderMap, length| {
            next(cursor, headers, length, Paging::LinksOrNumbers)
        };
        let first = Cursor::first(&[("limit", "3")]);
        let second = next(&first, &HeaderMap::new(), 3).unwrap();
        assert_eq!(joined(Some(second.query.clone())).unwrap(), "limit=3&page=2");
        assert_eq!(next(&second, &HeaderMap::new(), 0), None);
        let total = headers(&[("x-total-count", "4")]);
        assert_eq!(next(&second, &total, 1), None, "3 and 1 are all");
        assert!(next(&first, &total, 3).is_some());
        let linked = headers(&[("link", r#"<https://h/a?page=1>; rel="first""#)]);
        assert_eq!(
            next(&first, &linked, 3),
            None,
            "there are links, and none to a next page"
        );
        let itself = headers(&[("link", r#"<https://h/a?limit=3&page=2>; rel="next""#)]);
        assert_eq!(next(&second, &itself, 3), None, "it names itself");
        let by_links = super::next(&first, &HeaderMap::new(), 3, Paging::Links);
        assert_eq!(by_links, None, "a forge that always links has no next page");
    }
}
