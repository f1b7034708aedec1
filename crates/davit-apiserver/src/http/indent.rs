//! JSON with line breaks.

/// The same JSON with a line for each value, its keys in their order.
pub(super) fn indented(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut text, mut escaped, mut empty) = (0, false, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for byte in json.trim_ascii() {
        if text {
            out.push(*byte);
            text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => continue,
            b'}' | b']' => {
                depth = usize::saturating_sub(depth, 1);
                if !empty {
                    line(&mut out, depth);
                }
            }
            // What was opened just now holds something.
            _ if empty => line(&mut out, depth),
            _ => {}
        }
        out.push(*byte);
        empty = false;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                empty = true;
            }
            b',' => line(&mut out, depth),
            b':' => out.push(b' '),
            b'"' => text = true,
            _ => {}
        }
    }
    out
}
