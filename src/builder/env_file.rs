//! `.env` in the build context: the environment of the containers, quoted. Pure.

use super::words::is_name;
use crate::redact::Secret;

/// The name of the file.
pub const NAME: &str = ".env";

/// The text of the file, a line `NAME='value'` for each variable. A POSIX shell reads every value back unchanged. A variable with
/// a name that a shell refuses, such as `dot.name`, is left out: the shell would stop reading the file there.
pub fn text<'a>(variables: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Secret {
    let mut text = Vec::new();
    for (name, value) in variables.into_iter().filter(|(name, _)| is_name(name)) {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        quote(value.expose(), &mut text);
        text.push(b'\n');
    }
    Secret::new(text)
}

/// In single quotes nothing has a meaning; with a single quote in the value, double quotes and escapes are needed.
fn quote(value: &[u8], text: &mut Vec<u8>) {
    if !value.contains(&b'\'') {
        text.push(b'\'');
        text.extend_from_slice(value);
        text.push(b'\'');
        return;
    }
    text.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\' | b'$' | b'`') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_shell_reads_is_left_out() {
        let value = Secret::from("1");
        let names = ["A", "dot.name-x", "_b2", "-c"];
        let written = text(names.iter().map(|name| (*name, &value)));
        assert_eq!(written.expose(), b"A='1'\n_b2='1'\n");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads the file with a shell")]
    fn shell_reads_every_value_back() {
        let values = [
            "plain",
            "",
            "a b",
            "it's",
            "'",
            "a \"b\" $HOME `id` \\ #c \n\n \u{fc}",
            "it's \"b\" $HOME `id` \\ #c \n\n \u{fc}\\",
        ];
        let secrets: Vec<(String, Secret)> = values
            .iter()
            .enumerate()
            .map(|(number, value)| (format!("V{number}"), Secret::from(*value)))
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = text(secrets.iter().map(|(name, value)| (name.as_str(), value)));
        std::fs::write(file.path(), written.expose()).unwrap();
        for (number, value) in values.iter().enumerate() {
            let script = format!(". {}; printf '%s' \"$V{number}\"", file.path().display());
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                *value,
                "{}",
                String::from_utf8_lossy(written.expose())
            );
        }
    }
}
