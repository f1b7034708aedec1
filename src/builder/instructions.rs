//! The instructions of a Dockerfile, each with its lines: those that continue it and its here-documents. Pure.

/// The lines of each instruction; comments and empty lines between instructions are by themselves.
pub fn instructions(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut all, mut rest) = (Vec::new(), lines.as_slice());
    while !rest.is_empty() {
        let (own, others) = rest.split_at(length(rest));
        all.push(own.to_vec());
        rest = others;
    }
    all
}

/// How many lines the instruction has that begins in the first one, its here-documents included.
fn length(lines: &[&str]) -> usize {
    let (mut count, mut ends) = (0, Vec::new());
    for line in lines {
        count += 1;
        let line = line.trim();
        let is_comment = line.starts_with('#');
        if !is_comment {
            ends.extend(here_documents(line));
        }
        // A comment within an instruction does not end it.
        let continues = if is_comment {
            count > 1
        } else {
            line.ends_with(['\\', '`'])
        };
        if !continues {
            break;
        }
    }
    for end in ends {
        let rest = lines.get(count..).unwrap_or_default();
        let found = rest
            .iter()
            .position(|line| line.trim_end_matches(['\r', '\n']).trim_start_matches('\t') == end);
        count += found.map_or(0, |found| found + 1);
    }
    count
}

/// The words that end the here-documents of a line.
fn here_documents(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split_whitespace().filter_map(|word| word.split_once("<<"));
    // The word may begin with the number of a file. `$((1<<n))` is not such a word.
    let words = words.filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let ends = words.map(|(_, end)| end.trim_start_matches('-').trim_matches(['"', '\'']));
    ends.filter(|end| end.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_'))
}
