//! An input of a step that its text does not show: BuildKit counts the id of a secret mount, and mounts nothing if the client has no such
//! secret. So a digest in the id of a mount makes another step of the same text. Pure.

use std::borrow::Cow;

/// The beginning of the flag.
const FLAG: &str = "--mount=type=secret,id=davit-input-";

/// The flag of a `RUN` instruction that makes `digest` an input of it.
pub fn flag(digest: &str) -> String {
    format!("{FLAG}{digest}")
}

/// The text of a step without such a flag.
pub fn without(text: &str) -> Cow<'_, str> {
    let Some((before, rest)) = text.split_once(FLAG) else {
        return Cow::Borrowed(text);
    };
    let after = rest.split_once(' ').map_or("", |(_, after)| after);
    Cow::Owned(format!("{before}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_is_not_shown() {
        let step = |flags: &str| format!("[2/4] RUN {flags}--mount=type=secret,id=TOKEN make");
        assert_eq!(without(&step(&format!("{} ", flag("0123")))), step(""));
        assert_eq!(without(&step("")), step(""));
    }
}
