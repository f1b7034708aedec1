//! The flags of a `RUN` instruction, and the secrets that they mount. As BuildKit reads them (`extractBuilderFlags` and `parseMount`
//! of its packages `frontend/dockerfile/parser` and `instructions`). Pure.

/// A secret that a flag mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// The one with this id.
    Secret(String),
    /// Any one: a variable hides which, or whether the flag mounts one.
    Any,
}

/// The flags with which the text behind the name of an instruction begins, without their quotes.
pub fn flags(text: &str, escape: char) -> Vec<String> {
    let (mut flags, mut rest) = (Vec::new(), text.trim_start());
    while rest.starts_with("--") {
        let (flag, behind) = word(rest, escape);
        if flag == "--" {
            break;
        }
        flags.push(flag);
        rest = behind.trim_start();
    }
    flags
}

/// The secret that a flag mounts, if it mounts one.
pub fn secret(flag: &str) -> Option<Mounted> {
    let value = flag.strip_prefix("--mount=")?;
    let Some(fields) = fields(value) else {
        // BuildKit refuses it. Another frontend may not.
        return is_unclear(value).then_some(Mounted::Any);
    };
    let (mut kind, mut id, mut source, mut target) = ("", "", "", "");
    for (key, value) in fields.iter().filter_map(|field| field.split_once('=')) {
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = value,
            "id" => id = value,
            "source" | "src" => source = value,
            "target" | "dst" | "destination" => target = value,
            _ => {}
        }
    }
    if !kind.eq_ignore_ascii_case("secret") {
        return is_unclear(kind).then_some(Mounted::Any);
    }
    let base = target
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = [source, id, base].into_iter().find(|name| !name.is_empty());
    // BuildKit expands variables in the id, and removes quotes and escapes while it does.
    Some(match name {
        Some(name) if !name.contains(['$', '\\', '`', '"', '\'']) => Mounted::Secret(name.to_owned()),
        Some(_) | None => Mounted::Any,
    })
}

/// Whether a value that is not understood could mean a secret.
fn is_unclear(value: &str) -> bool {
    value.contains('$') || value.to_ascii_lowercase().contains("secret")
}

/// The first word of a text, without its quotes, and what is behind it.
fn word(text: &str, escape: char) -> (String, &str) {
    let (mut word, mut quote) = (String::new(), None);
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match quote {
            None if char.is_whitespace() => return (word, text.get(at..).unwrap_or_default()),
            None if matches!(char, '\'' | '"') => quote = Some(char),
            Some(open) if char == open => quote = None,
            _ if char == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(char),
        }
    }
    (word, "")
}

/// The fields of a line of CSV, or `None` if its quotes are not valid.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), Some(line));
    while let Some(text) = rest {
        let (field, behind) = if let Some(quoted) = text.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let (field, behind) = text
                .split_once(',')
                .map_or((text, None), |(field, behind)| (field, Some(behind)));
            if field.contains('"') {
                return None;
            }
            (field.to_owned(), behind)
        };
        fields.push(field);
        rest = behind;
    }
    Some(fields)
}

/// A field up to its closing quote, and what is behind the comma after it.
fn quoted_field(mut text: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    loop {
        let (part, behind) = text.split_once('"')?;
        field.push_str(part);
        if let Some(more) = behind.strip_prefix('"') {
            field.push('"');
            text = more;
        } else if behind.is_empty() {
            return Some((field, None));
        } else {
            return Some((field, Some(behind.strip_prefix(',')?)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_mount_is_recognised() {
        let named = |name: &str| vec![Mounted::Secret(name.to_owned())];
        for (text, mounted) in [
            ("--mount=type=secret,id=A make", named("A")),
            ("--network=none --mount=id=A,type=secret make", named("A")),
            ("--mount=type=secret,src=A,target=/x make", named("A")),
            ("--mount=type=secret,source=A make", named("A")),
            ("--mount=type=secret,id=A,env=B make", named("A")),
            ("--mount=type=secret,target=/run/secrets/A make", named("A")),
            ("--mount=type=secret,dst=/run/secrets/A/ make", named("A")),
            ("--mount=type=secret,destination=A make", named("A")),
            ("--mount=type=secret,id=A,target=/x/B,required make", named("A")),
            ("--mount=Type=secret,id=A make", named("A")),
            ("--mount=TYPE=Secret,ID=A make", named("A")),
            ("--mount=\"type=secret,id=A\" make", named("A")),
            ("--mount='type=secret',\"id=A\" make", named("A")),
            ("\"--mount=type=secret,id=A\" make", Vec::new()),
            ("--\"mount\"=type=secret,id=A make", named("A")),
            ("--mount=type=secret\\,id=A make", named("A")),
            ("--mount=\\\"type=secret\\\",\\\"id=A\\\" make", named("A")),
            ("--mount=\\\"type=secret\\\"x,id=A make", vec![Mounted::Any]),
            ("--mount=type=secret,id=$NAME make", vec![Mounted::Any]),
            ("--mount=type=$TYPE,id=A make", vec![Mounted::Any]),
            ("--mount=type=secret make", vec![Mounted::Any]),
            ("--mount=type=secret,id=B,id=A make", named("A")),
            ("--mount=type=cache,id=A,target=/secret make", Vec::new()),
            ("--mount=id=A,target=/secret make", Vec::new()),
            ("make --mount=type=secret,id=A", Vec::new()),
            ("-- --mount=type=secret,id=A make", Vec::new()),
            (
                "--mount=type=bind,target=/b --mount=type=secret,id=A --security=insecure --mount=type=secret,id=B make",
                [named("A"), named("B")].concat(),
            ),
        ] {
            let found: Vec<Mounted> = flags(text, '\\').iter().filter_map(|flag| secret(flag)).collect();
            assert_eq!(found, mounted, "{text}");
        }
        assert_eq!(flags("--a=`  --b=\\ c", '`'), ["--a= ", "--b=\\"]);
    }
}
