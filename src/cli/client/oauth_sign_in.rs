//! Authorises an OAuth application of the user in a browser.

use std::path::Path;
use std::time::Duration;

use axum::Router;

use super::app_registration::forge_failure;
use super::browser::{self, PATH, random};
use super::output::note;
use super::subresource_args::OAuthArgs;
use crate::cli::failure::Failure;
use crate::forge::HttpOptions;
use crate::forge::onboarding::{Callback, CodeGrant, Connection, ForgeName, OAuthClient, Wish};
use crate::http as server;
use crate::redact::Secret;

/// Waits until the user has authorised the application, and exchanges the code for the first tokens.
///
/// # Errors
/// The file with the secret cannot be read, the user gave up, or the forge refuses the application or the code.
pub async fn sign_in(
    forge: ForgeName,
    wish: &Wish,
    id: &str,
    args: &OAuthArgs,
    options: &HttpOptions,
    limit: Option<Duration>,
) -> Result<Connection, Failure> {
    let secret = args.client_secret_file.as_deref().map(read).transpose()?;
    let client = OAuthClient {
        id: id.to_owned(),
        secret,
        scopes: args.scopes.clone(),
    };
    let port = ([127, 0, 0, 1], args.callback_port).into();
    let listener = server::bind("--callback-port", port).await?;
    let address = format!("http://{}{PATH}", listener.local_addr()?);
    let callback = Callback::new(address.clone(), Secret::from(random()));
    let verifier = Secret::from(random() + &random());
    let grant = CodeGrant::new(forge, wish, client, callback, verifier, options).map_err(Failure::new)?;
    note(&format!(
        "Open this address in a browser, as the account that Davit shall use, and authorise the application:\n  {}\n\
         The browser is then led to an address that begins with {address}, which has to be registered with the application.\n\
         If it cannot open that address, because it runs on another machine, paste the address or its code here:",
        grant.page()
    ));
    let code = browser::code(listener, grant.callback(), Router::new(), limit).await?;
    grant.redeem(&code).await.map_err(|error| forge_failure(&error))
}

fn read(file: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read(file).map_err(|error| {
        Failure::new(format!(
            "cannot read the secret of the application in {}: {error}: set --client-secret-file to a file that can be read",
            file.display()
        ))
    })?;
    let secret = Secret::new(text).trimmed();
    if secret.is_empty() {
        return Err(Failure::new(format!(
            "{} is empty: put the secret of the application into it, or leave --client-secret-file out for a public application",
            file.display()
        )));
    }
    Ok(secret)
}
