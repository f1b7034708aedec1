//! Names and values as words of a Dockerfile. Pure.

/// The name of an image, if it can be a word.
pub fn image_name(image: &str) -> Result<&str, String> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "._-/:@".contains(char);
    if image.is_empty() || image.starts_with('-') || !image.chars().all(plain) {
        return Err(format!("{image:?} is not the name of an image"));
    }
    Ok(image)
}

/// Whether a text is the name of a variable.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// A value in quotes, of which nothing is expanded.
pub fn quoted(value: &str) -> Result<String, String> {
    if value.contains(['\n', '\r', '\0']) {
        return Err("a variable of the plan has several lines".to_owned());
    }
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$");
    Ok(format!("\"{escaped}\""))
}

/// A word of `COPY`, of which no variable is expanded.
pub fn word(text: &str) -> Result<String, String> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(format!("the path {text:?} has several lines"));
    }
    Ok(text.replace('$', "\\$"))
}
