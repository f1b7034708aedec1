//! What the query of a log asks for. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::failure::Failure;
use super::parameters::Parameters;

/// What the query asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub replica: Option<String>,
    pub follow: bool,
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub previous: bool,
    pub timestamps: bool,
    pub prefix: bool,
    pub access: bool,
}

impl Wanted {
    /// Reads the query; times that are lengths count back from `now`.
    pub fn parse(parameters: &Parameters, now: Timestamp) -> Result<Self, Failure> {
        let seconds: Option<u64> = parameters.value("sinceSeconds", "a number of seconds")?;
        if seconds == Some(0) {
            return Err(Failure::bad_request(
                "the parameter sinceSeconds is 0: write a number from 1",
            ));
        }
        // No log is older.
        let oldest = Timestamp::UNIX_EPOCH;
        let ago = seconds.map(|seconds| {
            let ago = now.checked_sub(Duration::from_secs(seconds));
            ago.unwrap_or(oldest)
        });
        let time = parameters.value(
            "sinceTime",
            "a time such as 2026-11-29T15:00:00Z, and before 9999-12-30T22:00:00Z",
        )?;
        if ago.is_some() && time.is_some() {
            let message = "sinceSeconds and sinceTime are both set: leave one out";
            return Err(Failure::bad_request(message));
        }
        Ok(Self {
            replica: parameters.text("replica").map(str::to_owned),
            follow: parameters.flag("follow")?,
            tail: parameters.value("tailLines", "a number of lines")?,
            since: ago.or(time).map(|since| since.max(oldest)),
            previous: parameters.flag("previous")?,
            timestamps: parameters.flag("timestamps")?,
            prefix: parameters.flag("prefix")?,
            access: parameters.flag("access")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_with_contradicting_or_invalid_times_is_refused() {
        let parse = |query: &str| Wanted::parse(&Parameters::parse(query), Timestamp::UNIX_EPOCH);
        for query in [
            "sinceSeconds=0",
            "sinceSeconds=x",
            "sinceTime=yesterday",
            "sinceSeconds=1&sinceTime=2026-11-29T15:00:00Z",
            "tailLines=-1",
            "follow=perhaps",
        ] {
            assert!(parse(query).is_err(), "{query}");
        }
        // Kubernetes takes any number of seconds.
        for all in [
            "sinceSeconds=99999999999",
            "sinceSeconds=99999999999999999",
            "sinceTime=1900-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(all).unwrap().since, Some(Timestamp::UNIX_EPOCH), "{all}");
        }
        // Of a repeated parameter the first counts, as in Kubernetes.
        assert_eq!(parse("tailLines=1&tailLines=2").unwrap().tail, Some(1));
        let wanted = parse("follow&tailLines=3&timestamps=true&prefix=false&unknown=1").unwrap();
        assert!(wanted.follow && wanted.timestamps && !wanted.prefix && !wanted.previous);
        assert_eq!(wanted.tail, Some(3));
    }
}
