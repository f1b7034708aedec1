//! The address to which a forge leads the browser back with a code.

use std::collections::BTreeMap;

use crate::redact::Secret;

/// The longest code that is accepted.
const LONGEST_CODE: usize = 1024;

/// An address on this machine, and the value that comes back with the code of this sign-in only.
#[derive(Clone, Debug)]
pub struct Callback {
    address: String,
    state: Secret,
}

impl Callback {
    /// The address `address`. `state` is random.
    pub fn new(address: String, state: Secret) -> Self {
        Self { address, state }
    }

    /// The address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The state.
    pub(super) fn state(&self) -> &str {
        self.state.expose_str().unwrap_or_default()
    }

    /// The code in the query with which the forge leads the browser back.
    ///
    /// # Errors
    /// The forge reports an error, or the query does not belong to this sign-in.
    pub fn code(&self, query: &str) -> Result<String, String> {
        let pairs: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let state = Secret::from(pairs.get("state").map_or("", String::as_str));
        if state != self.state {
            return Err(
                "the state in the address is not that of this command: begin again at the address above"
                    .to_owned(),
            );
        }
        if let Some(error) = pairs.get("error") {
            let why = pairs.get("error_description").unwrap_or(error);
            return Err(format!(
                "the forge gives no code: {}; begin again at the address above",
                printable(why)
            ));
        }
        match pairs.get("code").filter(|code| is_code(code)) {
            Some(code) => Ok(code.clone()),
            None => Err("the address has no code: begin again at the address above".to_owned()),
        }
    }

    /// The code in what a user pasted: the whole address, or the code alone.
    ///
    /// # Errors
    /// It is neither, or does not belong to this sign-in.
    pub fn pasted(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(self.address.as_str()) {
            return self.code(rest.strip_prefix('?').unwrap_or_default());
        }
        if is_code(text) {
            return Ok(text.to_owned());
        }
        Err(format!(
            "this is neither an address that begins with {} nor a code: paste it again",
            self.address
        ))
    }
}

/// Whether a text can be a code. GitHub's becomes a segment of a path.
fn is_code(text: &str) -> bool {
    (1..=LONGEST_CODE).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The beginning of a text of the forge, without characters that control a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "http://127.0.0.1:4321/callback";

    #[test]
    fn code_is_taken_with_the_state_of_this_command_only() {
        let callback = Callback::new(ADDRESS.to_owned(), Secret::from("0123456789abcdef"));
        let state = "state=0123456789abcdef";
        assert_eq!(
            callback.code(&format!("code=abc-1_2&{state}")).unwrap(),
            "abc-1_2"
        );
        for query in [
            "code=abc",
            "code=abc&state=",
            "code=abc&state=0123456789abcdeF",
            state,
            &format!("code=../x&{state}"),
            &format!("code=abc&error=access_denied&{state}"),
        ] {
            assert!(callback.code(query).is_err(), "{query}");
        }
        let refused = format!("error=access_denied&error_description=The+user+said+%1bno&{state}");
        let refused = callback.code(&refused).unwrap_err();
        assert!(refused.contains("The user said no;"), "{refused}");
        assert_eq!(
            callback
                .pasted(&format!(" {ADDRESS}?code=abc&{state}\n"))
                .unwrap(),
            "abc"
        );
        assert_eq!(callback.pasted("abc").unwrap(), "abc");
        for text in [
            "",
            "a b",
            "https://evil.example/callback?code=abc",
            &format!("{ADDRESS}?code=abc&state=x"),
        ] {
            assert!(callback.pasted(text).is_err(), "{text}");
        }
    }
}
