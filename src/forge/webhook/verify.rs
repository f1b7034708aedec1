//! Signatures of deliveries: HMAC-SHA256 of GitHub, Gitea, Forgejo and Bitbucket, the token and the signing token of GitLab
//! (Standard Webhooks), and a bearer token. Compared in constant time over the raw body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use jiff::Timestamp;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Refusal, Sender};
use crate::redact::Secret;

/// How far the signed time may be from now, in seconds.
const TOLERANCE: i64 = 300;
/// The shortest key in a signing token, in bytes, by the specification of Standard Webhooks.
const SHORTEST_KEY: usize = 24;

/// Checks that a delivery was signed with one of the secrets: the current one and, in a rotation, the one before.
///
/// # Errors
/// Each [`Refusal`] but [`Refusal::Malformed`].
pub fn verify(
    sender: Sender,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Secret],
    now: Timestamp,
) -> Result<(), Refusal> {
    let mut result = Err(Refusal::NoSecret);
    // A secret that is empty fits the empty signature that Gitea sends without one.
    for secret in secrets.iter().map(Secret::trimmed).filter(is_usable) {
        result = with_one(sender, headers, body, &secret, now);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// True if a delivery has what [`verify`] checks, so that one without it is refused before its body is read.
pub fn is_signed(sender: Sender, headers: &HeaderMap) -> bool {
    let names: &[&str] = match sender {
        Sender::GitHub => &["x-hub-signature-256"],
        Sender::Bitbucket => &["x-hub-signature"],
        Sender::Gitea => &["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"],
        Sender::GitLab => &["webhook-signature", "x-gitlab-token"],
        Sender::Other => &["authorization", "x-hub-signature-256"],
    };
    let has = |name: &&str| headers.get(*name).is_some_and(|value| !value.is_empty());
    names.iter().any(has)
}

/// Checks a token that is part of the URL, for senders that can neither sign nor send a header.
///
/// # Errors
/// [`Refusal::NoSecret`], [`Refusal::WrongSignature`].
pub fn verify_token(token: &str, secrets: &[Secret]) -> Result<(), Refusal> {
    let mut result = Err(Refusal::NoSecret);
    for secret in secrets
        .iter()
        .map(Secret::trimmed)
        .filter(|secret| !secret.is_empty())
    {
        result = equal(token.as_bytes(), secret.expose());
        if result.is_ok() {
            break;
        }
    }
    result
}

fn with_one(
    sender: Sender,
    headers: &HeaderMap,
    body: &[u8],
    secret: &Secret,
    now: Timestamp,
) -> Result<(), Refusal> {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        (!value.is_empty()).then_some(value)
    };
    let prefixed = |name: &str| text(name).map(|value| value.strip_prefix("sha256=").unwrap_or_default());
    let hex = match sender {
        Sender::GitHub => prefixed("x-hub-signature-256"),
        Sender::Bitbucket => prefixed("x-hub-signature"),
        Sender::Gitea => text("x-forgejo-signature")
            .or_else(|| text("x-gitea-signature"))
            .or_else(|| prefixed("x-hub-signature-256")),
        Sender::GitLab => return gitlab(text, body, secret, now),
        Sender::Other => match text("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => return equal(token.as_bytes(), secret.expose()),
            None => prefixed("x-hub-signature-256"),
        },
    };
    let signature = hex.ok_or(Refusal::Unsigned)?;
    let signature = decode_hex(signature).ok_or(Refusal::WrongSignature)?;
    signed(secret.expose(), &[body], &signature)
}

/// GitLab signs from version 19.0 on; before that it sends the secret itself.
fn gitlab<'h>(
    text: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    secret: &Secret,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(signatures) = text("webhook-signature") else {
        let token = text("x-gitlab-token").ok_or(Refusal::Unsigned)?;
        return equal(token.as_bytes(), secret.expose());
    };
    let (Some(id), Some(time)) = (text("webhook-id"), text("webhook-timestamp")) else {
        return Err(Refusal::Unsigned);
    };
    let signed_at: i64 = time.parse().map_err(|_| Refusal::WrongSignature)?;
    let key = key(secret)?;
    let prefix = format!("{id}.{time}.");
    let fits = |signature: &str| {
        let decoded = signature
            .strip_prefix("v1,")
            .and_then(|text| STANDARD.decode(text).ok());
        decoded.is_some_and(|decoded| signed(&key, &[prefix.as_bytes(), body], &decoded).is_ok())
    };
    if !signatures.split(' ').any(fits) {
        return Err(Refusal::WrongSignature);
    }
    if now.as_second().saturating_sub(signed_at).saturating_abs() > TOLERANCE {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// The key that a secret stands for. That in a signing token of Standard Webhooks must not be so short that it can be guessed.
fn key(secret: &Secret) -> Result<Vec<u8>, Refusal> {
    let token = secret.expose_str().and_then(|text| text.strip_prefix("whsec_"));
    let Some(encoded) = token else {
        return Ok(secret.expose().to_vec());
    };
    let key = STANDARD.decode(encoded).map_err(|_| Refusal::NoSecret)?;
    if key.len() < SHORTEST_KEY {
        return Err(Refusal::NoSecret);
    }
    Ok(key)
}

/// Reports whether deliveries can be signed with a secret.
pub fn is_usable(secret: &Secret) -> bool {
    !secret.is_empty() && key(secret).is_ok()
}

fn signed(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> Result<(), Refusal> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Refusal::NoSecret)?;
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(signature).map_err(|_| Refusal::WrongSignature)
}

fn equal(given: &[u8], secret: &[u8]) -> Result<(), Refusal> {
    let equal: bool = given.ct_eq(secret).into();
    equal.then_some(()).ok_or(Refusal::WrongSignature)
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    const SECRET: &str = "It's a Secret to Everybody";
    /// HMAC-SHA256 of `Hello, World!` with [`SECRET`], from GitHub's documentation.
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn check(
        sender: Sender,
        rows: &[(&'static str, String)],
        body: &str,
        secret: &str,
    ) -> Result<(), Refusal> {
        let headers = rows
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        verify(sender, &headers, body.as_bytes(), &[Secret::from(secret)], now())
    }

    #[test]
    fn published_signature_is_accepted_and_refused_with_one_byte_changed() {
        let prefixed = format!("sha256={SIGNATURE}");
        for (sender, header, value) in [
            (Sender::GitHub, "x-hub-signature-256", prefixed.clone()),
            (Sender::Bitbucket, "x-hub-signature", prefixed.clone()),
            (Sender::Gitea, "x-gitea-signature", SIGNATURE.to_owned()),
            (Sender::Gitea, "x-forgejo-signature", SIGNATURE.to_owned()),
            (Sender::Gitea, "x-hub-signature-256", prefixed.clone()),
            (Sender::Other, "x-hub-signature-256", prefixed.clone()),
        ] {
            let ask = |value: &str, body: &str, secret: &str| {
                check(sender, &[(header, value.to_owned())], body, secret)
            };
            assert_eq!(ask(&value, "Hello, World!", SECRET), Ok(()), "{header}");
            assert_eq!(
                ask(&value, "Hello, World?", SECRET),
                Err(Refusal::WrongSignature),
                "{header}"
            );
            assert_eq!(
                ask(&value, "Hello, World!", "other"),
                Err(Refusal::WrongSignature),
                "{header}"
            );
            let changed = value.replace("757107", "757108");
            assert_eq!(
                ask(&changed, "Hello, World!", SECRET),
                Err(Refusal::WrongSignature),
                "{header}"
            );
            assert_eq!(
                ask(&value, "Hello, World!", " "),
                Err(Refusal::NoSecret),
                "{header}"
            );
            assert_eq!(
                ask("", "Hello, World!", SECRET),
                Err(Refusal::Unsigned),
                "{header}"
            );
            for broken in ["sha256=", "sha1=757107ea0eb2509f", "yo", "757", "sha256=zz"] {
                assert_eq!(
                    ask(broken, "Hello, World!", SECRET),
                    Err(Refusal::WrongSignature),
                    "{broken}"
                );
            }
        }
        assert_eq!(check(Sender::GitHub, &[], "", SECRET), Err(Refusal::Unsigned));
        // The header of another forge does not count.
        let bitbucket = [("x-hub-signature", prefixed)];
        assert_eq!(
            check(Sender::GitHub, &bitbucket, "Hello, World!", SECRET),
            Err(Refusal::Unsigned)
        );
    }

    #[test]
    fn signing_token_without_a_long_key_is_no_secret() {
        for (secret, usable) in [
            ("correct horse", true),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", true),
            ("whsec_", false),
            ("whsec_AAAA", false),
            ("whsec_not base64", false),
            ("", false),
        ] {
            assert_eq!(is_usable(&Secret::from(secret)), usable, "{secret:?}");
        }
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-gitlab-token"),
            HeaderValue::from_static("whsec_"),
        )]);
        let refused = verify(Sender::GitLab, &headers, b"{}", &[Secret::from("whsec_")], now());
        assert_eq!(refused, Err(Refusal::NoSecret));
    }

    #[test]
    fn gitlab_token_is_compared_whole() {
        let token = |value: &str| {
            check(
                Sender::GitLab,
                &[("x-gitlab-token", value.to_owned())],
                "{}",
                "secret",
            )
        };
        assert_eq!(token("secret"), Ok(()));
        for wrong in ["secre", "secrets", "Secret"] {
            assert_eq!(token(wrong), Err(Refusal::WrongSignature), "{wrong}");
        }
    }

    #[test]
    fn gitlab_signing_token_signs_id_and_time_too() {
        // The example of the Standard Webhooks specification.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = r#"{"test": 2432232314}"#;
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let check = |id: &str, time: i64, signature: &str, now: i64| {
            let headers = [
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", time.to_string()),
                ("webhook-signature", signature.to_owned()),
            ]
            .into_iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(&value).unwrap(),
                )
            })
            .collect();
            let now = Timestamp::from_second(now).unwrap();
            verify(
                Sender::GitLab,
                &headers,
                body.as_bytes(),
                &[Secret::from(secret)],
                now,
            )
        };
        let (id, time) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        assert_eq!(check(id, time, signature, time), Ok(()));
        let both = format!("v1,AAAA {signature}");
        assert_eq!(check(id, time, &both, time + 299), Ok(()), "one of several");
        assert_eq!(check(id, time, signature, time + 301), Err(Refusal::Expired));
        assert_eq!(check(id, time, signature, time - 301), Err(Refusal::Expired));
        assert_eq!(check(id, time + 1, signature, time), Err(Refusal::WrongSignature));
        assert_eq!(
            check("msg_other", time, signature, time),
            Err(Refusal::WrongSignature)
        );
        assert_eq!(check(id, time, "v1a,AAAA", time), Err(Refusal::WrongSignature));
    }

    #[test]
    fn bearer_token_is_for_scripts_only() {
        let bearer = [("authorization", "Bearer secret".to_owned())];
        assert_eq!(check(Sender::Other, &bearer, "{}", "secret"), Ok(()));
        assert_eq!(
            check(Sender::Other, &bearer, "{}", "other"),
            Err(Refusal::WrongSignature)
        );
        assert_eq!(
            check(Sender::GitHub, &bearer, "{}", "secret"),
            Err(Refusal::Unsigned)
        );
    }

    #[test]
    fn token_of_the_url_is_compared_whole() {
        let secrets = [Secret::from("new"), Secret::from("old\n")];
        assert_eq!(verify_token("new", &secrets), Ok(()));
        assert_eq!(verify_token("old", &secrets), Ok(()));
        for wrong in ["", "ne", "newer", "New"] {
            assert_eq!(
                verify_token(wrong, &secrets),
                Err(Refusal::WrongSignature),
                "{wrong}"
            );
        }
        assert_eq!(verify_token("", &[Secret::from(" ")]), Err(Refusal::NoSecret));
    }

    #[test]
    fn delivery_is_signed_only_by_the_headers_of_its_sender() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        let all = [
            Sender::GitHub,
            Sender::GitLab,
            Sender::Bitbucket,
            Sender::Gitea,
            Sender::Other,
        ];
        for (name, signed) in [
            (
                "x-hub-signature-256",
                vec![Sender::GitHub, Sender::Gitea, Sender::Other],
            ),
            ("x-hub-signature", vec![Sender::Bitbucket]),
            ("x-gitea-signature", vec![Sender::Gitea]),
            ("x-gitlab-token", vec![Sender::GitLab]),
            ("webhook-signature", vec![Sender::GitLab]),
            ("authorization", vec![Sender::Other]),
        ] {
            for sender in all {
                assert_eq!(
                    is_signed(sender, &headers(name, "x")),
                    signed.contains(&sender),
                    "{name} {sender:?}"
                );
                assert!(!is_signed(sender, &headers(name, "")), "{name} {sender:?}");
            }
        }
    }

    #[test]
    fn either_secret_fits_in_a_rotation() {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-gitlab-token"),
            HeaderValue::from_static("old"),
        )]);
        let secrets = [Secret::from("new"), Secret::from("old")];
        assert_eq!(verify(Sender::GitLab, &headers, b"{}", &secrets, now()), Ok(()));
        assert_eq!(
            verify(Sender::GitLab, &headers, b"{}", &[], now()),
            Err(Refusal::NoSecret)
        );
    }
}
