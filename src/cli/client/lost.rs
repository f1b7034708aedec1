//! Why a connection ended, in words for the user. Pure.

use std::error::Error;

/// Returns why a connection was lost, without the addresses of documentation that libraries add to their errors.
pub fn why(error: &(dyn Error + 'static)) -> String {
    plain(&crate::error::chain(error))
}

fn plain(chain: &str) -> String {
    // What TLS calls an end without a farewell is a server that has ended, or a network that has failed.
    if chain.contains("close_notify") {
        return "the server or the network ended it".to_owned();
    }
    let words = chain.split_whitespace();
    let kept: Vec<&str> = words.filter(|word| !word.contains("://docs.rs/")).collect();
    kept.join(" ").trim_end_matches([':', ';']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_libraries_are_left_out() {
        for (chain, expected) in [
            (
                "IO error: peer closed connection without sending TLS close_notify: https://docs.rs/rustls/latest/rustls/#eof",
                "the server or the network ended it",
            ),
            (
                "bad certificate: https://docs.rs/rustls/latest/rustls/manual",
                "bad certificate",
            ),
            ("connection refused", "connection refused"),
        ] {
            assert_eq!(plain(chain), expected);
        }
    }
}
