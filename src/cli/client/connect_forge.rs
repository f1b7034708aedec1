//! `davit connect`: makes the Secret and the GitProvider of a connection to a forge.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::app_registration::{self, forge_failure};
use super::args::Format;
use super::connect::{Access, Cluster, MANAGER};
use super::follow::Deadline;
use super::oauth_sign_in;
use super::output::{full_name, note, say, serialized, write};
use super::subresource_args::Connect;
use super::times::short;
use super::until::provider_ready;
use crate::api::{AllowedFrom, GitProvider};
use crate::cli::failure::{Code, Failure};
use crate::config;
use crate::forge::onboarding::{self, Connection, ForgeName, Wish};
use crate::forge::{HttpOptions, HttpsProxy, Tokens};
use crate::redact::Secret;

/// The longest token that is read.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// `davit connect`.
///
/// # Errors
/// The forge or the API server does not answer or refuses, or the user gave up.
pub async fn connect(args: Connect) -> Result<(), Failure> {
    let deadline = args.wait.begin();
    let left = || deadline.as_ref().and_then(Deadline::left);
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| args.forge.as_str().to_owned());
    let wish = Wish {
        name: name.clone(),
        url: args.url.clone(),
        organization: args.organization.clone(),
        group: args.group.clone(),
        workspace: args.workspace.clone(),
        email: args.email.clone(),
    };
    onboarding::check_wish(args.forge, &wish).map_err(Failure::new)?;
    let prints = matches!(args.output.format, Some(Format::Json | Format::Yaml));
    let cluster = if prints {
        None
    } else {
        Some(Cluster::new(&args.connection).await?)
    };
    if args.oauth.client_id.is_some() && args.forge == ForgeName::Github {
        return Err(Failure::new(
            "--client-id is not for github: leave it out, and an App is registered",
        ));
    }
    if let Some(cluster) = &cluster {
        // What the API server will refuse is known before anything exists at the forge.
        let rehearsal = onboarding::with_token(args.forge, &wish, Secret::from("rehearsal"));
        let mut rehearsal = rehearsal.map_err(Failure::new)?;
        if args.oauth.client_id.is_some() && args.oauth.client_secret_file.is_none() {
            rehearsal.secret.clear();
        }
        rehearsal.tokens = args.oauth.client_id.as_ref().map(|_| Tokens {
            access: Secret::from("rehearsal"),
            refresh: None,
            expires_at: None,
        });
        create(cluster, &objects(&args, &name, &rehearsal), true).await?;
    }
    let options = http_options();
    let (connection, next) = if let Some(id) = &args.oauth.client_id {
        let connection = oauth_sign_in::sign_in(args.forge, &wish, id, &args.oauth, &options, left()).await?;
        let next = signed_in(&connection, &options).await?;
        let tokens = onboarding::tokens_name(&name);
        let next = format!(
            "{next}\nDavit replaces the tokens in the Secret {tokens}. In a cluster, give it the right to change that Secret: \
             docs/{}.md",
            args.forge.as_str()
        );
        (connection, next)
    } else if args.token_stdin || !args.forge.registers_an_app() {
        let connection = onboarding::with_token(args.forge, &wish, token(left()).await?);
        let connection = connection.map_err(Failure::new)?;
        let next = signed_in(&connection, &options).await?;
        (connection, next)
    } else {
        let registered = app_registration::register(&wish, &options, left()).await?;
        let next = format!(
            "The App {} is registered. Install it for the repositories that Davit shall use: {}",
            registered.name, registered.install_url
        );
        (registered.connection, next)
    };
    let objects = objects(&args, &name, &connection);
    match &cluster {
        None => print(args.output.format, &objects)?,
        Some(cluster) => {
            if let Err(failure) = create(cluster, &objects, false).await {
                // A credential that is shown once must not be lost.
                note(
                    "The objects could not be created, so they follow; keep them, they contain the credential:",
                );
                print(Some(Format::Yaml), &objects)?;
                return Err(failure);
            }
            let created = if args.output.format == Some(Format::Name) {
                ""
            } else {
                " created"
            };
            for secret in &objects.0 {
                say(format!("secret/{}{created}", secret.name_any()))?;
            }
            say(format!("{}{created}", full_name(&objects.1)))?;
        }
    }
    note(&next);
    match (&cluster, deadline) {
        (Some(cluster), Some(deadline)) => provider_ready(cluster, &name, &deadline).await,
        _ => Ok(()),
    }
}

/// Checks a credential, and reports its account.
async fn signed_in(connection: &Connection, options: &HttpOptions) -> Result<String, Failure> {
    let account = connection
        .check(options)
        .await
        .map_err(|error| forge_failure(&error))?;
    let plural = if account.repositories == 1 {
        "repository"
    } else {
        "repositories"
    };
    Ok(format!(
        "Signed in as {}; it reaches {} {plural}.",
        account.name, account.repositories
    ))
}

/// The token on standard input, without the white space around it. A thread reads it, so that the time can be over before it
/// comes.
async fn token(limit: Option<Duration>) -> Result<Secret, Failure> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = std::io::stdin().take(LONGEST_TOKEN).read_to_end(&mut text);
        // After the time the receiver is gone.
        let _ = sender.send(read.map(|_| Secret::new(text).trimmed()));
    });
    let unread = |error: &dyn std::fmt::Display| {
        Failure::new(format!("cannot read the token from standard input: {error}"))
    };
    let read = match limit {
        Some(limit) => tokio::time::timeout(limit, receiver).await.map_err(|_| {
            let message = format!(
                "no token came on standard input within {}: write it there, as in < token",
                short(limit)
            );
            Failure::with_code(Code::TimedOut, message)
        })?,
        None => receiver.await,
    };
    match read {
        Ok(read) => read.map_err(|error| unread(&error)),
        Err(error) => Err(unread(&error)),
    }
}

fn http_options() -> HttpOptions {
    let mut options = HttpOptions::default();
    options.allow_loopback_http = true;
    options.proxy = config::https_proxy().map(|(url, except)| HttpsProxy { url, except });
    options
}

/// The Secrets, and the GitProvider that names them.
type Objects = (Vec<KubeSecret>, GitProvider);

fn objects(args: &Connect, name: &str, connection: &Connection) -> Objects {
    let metadata = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: args.connection.namespace.clone(),
        ..ObjectMeta::default()
    };
    let secret = |name: &str, content: &BTreeMap<&'static str, Secret>| {
        let text = |value: &Secret| String::from_utf8_lossy(value.expose()).into_owned();
        let data = content
            .iter()
            .map(|(key, value)| ((*key).to_owned(), text(value)));
        KubeSecret {
            metadata: metadata(name),
            string_data: Some(data.collect()),
            ..KubeSecret::default()
        }
    };
    let mut secrets = Vec::new();
    if !connection.secret.is_empty() {
        secrets.push(secret(name, &connection.secret));
    }
    if let Some(tokens) = &connection.tokens {
        let content = onboarding::tokens_content(tokens);
        secrets.push(secret(&onboarding::tokens_name(name), &content));
    }
    let mut spec = connection.spec.clone();
    if args.all_namespaces {
        spec.allowed_namespaces.from = AllowedFrom::All;
    }
    let provider = GitProvider {
        metadata: metadata(name),
        spec,
        status: None,
    };
    (secrets, provider)
}

async fn create(cluster: &Cluster, (made, provider): &Objects, dry_run: bool) -> Result<(), Failure> {
    let params = PostParams {
        dry_run,
        field_manager: Some(MANAGER.to_owned()),
    };
    let refused = |error: kube::Error, kind: &str, name: String| match &error {
        kube::Error::Api(status) if status.code == 409 => Failure::new(format!(
            "{kind}/{name} exists already in namespace {}: choose another name with --name, or delete it",
            cluster.namespace
        )),
        _ => cluster.refused(&error, Access::Edit),
    };
    let secrets: Api<KubeSecret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for secret in made {
        let made = secrets.create(&params, secret).await;
        made.map_err(|error| refused(error, "secret", secret.name_any()))?;
    }
    let providers: Api<GitProvider> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let made = providers.create(&params, provider).await;
    made.map_err(|error| refused(error, "gitprovider.davit.dev", provider.name_any()))?;
    Ok(())
}

/// Prints the objects for a repository from which they are applied.
fn print(format: Option<Format>, (secrets, provider): &Objects) -> Result<(), Failure> {
    let all: Vec<Value> = secrets
        .iter()
        .map(serde_json::to_value)
        .chain([serde_json::to_value(provider)])
        .filter_map(Result::ok)
        .collect();
    if format == Some(Format::Json) {
        return serialized(
            Format::Json,
            json!({"apiVersion": "v1", "kind": "List", "items": all}),
        );
    }
    for object in all {
        write("---\n")?;
        serialized(Format::Yaml, object)?;
    }
    Ok(())
}
