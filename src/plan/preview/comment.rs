//! The comment on a pull request that reports its preview.

use crate::api::{PreviewState, PreviewStatus};
use crate::error::cut;
use crate::model::AppId;
use crate::plan::fingerprint::{Fingerprint, digest};
use crate::redact::Secret;

/// What every comment begins with.
const BEGIN: &str = "The preview of `";
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
    let mut lines = vec![format!("{BEGIN}{}` {state}.", parent.name)];
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
    if preview.state == PreviewState::Failed
        && let Some(application) = &preview.application
    {
        lines.push(format!(
            "`davit -n {} logs {application} --build` shows the log of the build.",
            parent.namespace
        ));
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

/// Returns the last text of the comment in a repository that the Application does not use any more.
pub fn moved(parent: &AppId, marker: &str) -> String {
    format!(
        "{BEGIN}{}` was removed.\n\n`the Application has another source now`\n\n{marker}",
        parent.name
    )
}

/// Returns a digest of a text, with which the status records what was written.
pub fn mark(key: &Secret, text: &str) -> String {
    let mut inputs = Fingerprint::new(key);
    inputs.add("preview.text", text.as_bytes());
    digest(&inputs.finish(), &[""], "", 12)
}

/// Reports whether a text is a comment of Davit with this marker, and nothing that a person wrote around a copy of one.
pub fn is_own(text: &str, marker: &str) -> bool {
    let text = text.trim();
    text.starts_with(BEGIN) && text.ends_with(marker) && text.matches(marker).count() == 1
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
            repository: None,
            reported: None,
        };
        let text = text(&parent, &preview, &marker);
        assert!(text.contains("`line 'one' ![x](http://evil) @jane`"), "{text}");
        assert!(
            text.ends_with(&format!("\n\n{marker}")) && !text.contains("7.example.com"),
            "{text}"
        );
        assert!(
            text.contains("`davit -n production logs shop-pr-7 --build`"),
            "{text}"
        );
        assert!(is_own(&text, &marker));
        for foreign in [
            format!("> {}\n\nI think so too", text.replace('\n', "\n> ")),
            format!("{text}\n\nMy notes"),
            format!("See:\n{text}"),
            format!("{text}\n\n{text}"),
        ] {
            assert!(!is_own(&foreign, &marker), "{foreign}");
        }
        assert_ne!(marker, super::marker(&key, &parent, "uid", 8));
        assert_ne!(marker, super::marker(&Secret::from("other"), &parent, "uid", 7));
    }
}
