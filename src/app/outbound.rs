//! Connections to servers outside, through the proxy of this machine's network.

use std::ffi::OsString;

use crate::config::Config;
use crate::forge::{Forges, HttpOptions, HttpsProxy};
use crate::redact::Secret;

/// The variables that lead Git through the proxy.
pub fn proxy_environment(config: &Config) -> Vec<(OsString, OsString)> {
    let Some(url) = config.https_proxy.as_ref().and_then(Secret::expose_str) else {
        return Vec::new();
    };
    [("HTTPS_PROXY", url), ("NO_PROXY", config.no_proxy.as_str())]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
}

/// The connections of GitProviders: none yet.
pub fn forges(config: &Config) -> Forges {
    let mut options = HttpOptions::default();
    options.allow_loopback_http = config.allow_local_sources;
    options.proxy = config.https_proxy.as_ref().map(|url| HttpsProxy {
        url: url.clone(),
        except: config.no_proxy.clone(),
    });
    Forges::new(options)
}
