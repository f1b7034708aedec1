//! The comment on a pull request that reports its preview.

use crate::api::{PreviewState, PreviewStatus};
use crate::error::cut;
use crate::model::AppId;
use crate::plan::fingerprint::{Fingerprint, digest};
use crate::redact::Secret;

/// The most characters of a message in a comment.
const LONGEST: usize = 400;

/// Returns the marker by which the comment of one Application on one pull request is found again. No browser shows it, and
/// without the key of the installation it cannot be guessed.
pub fn marker(key: &Secret, parent: &AppId, uid: &str, number: i64) -> String {
    let mut inputs = Fingerprint::new(key);
    inputs.add("preview.comment", format!("{uid} {number}").as_bytes());
    let digest = digest(&inputs.finish(), &[""], "", 16);
    format!("[davit-preview]: # ({parent} {digest})")
}

/// Returns the text of the comment.
pub fn text(parent: &AppId, preview: &PreviewStatus, marker: &str) -> String {
    let state = match preview.state {
        PreviewState::Waiting => "is waiting",
        PreviewState::Building => "is being built",
        PreviewState::Ready => "is ready",
        PreviewState::Failed => "failed",
        PreviewState::Removed => "was removed",
    };
    let mut lines = vec![format!("The preview of `{}` {state}.", parent.name)];
    if let Some(url) = preview
        .url
        .as_ref()
        .filter(|_| preview.state == PreviewState::Ready)
    {
        lines.push(url.clone());
    }
    if let Some(message) = &preview.message {
        // A code span, so that nothing in it is a link, a mention or a picture.
        lines.push(format!("`{}`", cut(&one_line(message), LONGEST)));
    }
    if let Some(revision) = preview
        .revision
        .as_ref()
        .filter(|_| preview.state != PreviewState::Removed)
    {
        lines.push(format!("Commit {revision}"));
    }
    lines.push(marker.to_owned());
    lines.join("\n\n")
}

/// Returns a digest of a text, with which the status records what was written.
pub fn mark(key: &Secret, text: &str) -> String {
    let mut inputs = Fingerprint::new(key);
    inputs.add("preview.text", text.as_bytes());
    digest(&inputs.finish(), &[""], "", 12)
}

fn one_line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|letter| match letter {
            '`' => '\'',
            letter if letter.is_control() => ' ',
            letter => letter,
        })
        .collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_has_one_marker_and_no_markup_from_a_message() {
        let (key, parent) = (Secret::from("key"), AppId::new("production", "shop"));
        let marker = marker(&key, &parent, "uid", 7);
        let preview = PreviewStatus {
            number: 7,
            state: PreviewState::Failed,
            application: Some("shop-pr-7".to_owned()),
            revision: Some("a1".repeat(20)),
            url: Some("https://7.example.com".to_owned()),
            message: Some("line `one`\n\n![x](http://evil) @jane".to_owned()),
            comment: None,
            reported: None,
        };
        let text = text(&parent, &preview, &marker);
        assert!(text.contains("`line 'one' ![x](http://evil) @jane`"), "{text}");
        assert!(
            text.ends_with(&format!("\n\n{marker}")) && !text.contains("7.example.com"),
            "{text}"
        );
        assert_ne!(marker, super::marker(&key, &parent, "uid", 8));
        assert_ne!(marker, super::marker(&Secret::from("other"), &parent, "uid", 7));
    }
}
