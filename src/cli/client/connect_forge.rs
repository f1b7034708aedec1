//! `davit connect`: makes the Secret and the GitProvider of a connection to a forge.

use std::collections::BTreeMap;
use std::io::Read as _;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::app_registration::{self, forge_failure};
use super::args::Format;
use super::connect::{Access, Cluster, MANAGER};
use super::output::{full_name, note, say, serialized, write};
use super::subresource_args::Connect;
use crate::api::{AllowedFrom, GitProvider};
use crate::cli::failure::Failure;
use crate::config;
use crate::forge::onboarding::{self, Connection, Wish};
use crate::forge::{HttpOptions, HttpsProxy};
use crate::redact::Secret;

/// The longest token that is read.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// `davit connect`.
///
/// # Errors
/// The forge or the API server does not answer or refuses, or the user gave up.
pub async fn connect(args: Connect) -> Result<(), Failure> {
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
    if let Some(cluster) = &cluster {
        // What the API server will refuse is known before anything exists at the forge.
        let rehearsal = onboarding::with_token(args.forge, &wish, Secret::from("rehearsal"));
        let rehearsal = rehearsal.map_err(Failure::new)?;
        create(cluster, &objects(&args, &name, &rehearsal), true).await?;
    }
    let options = http_options();
    let (connection, next) = if args.token_stdin || !args.forge.registers_an_app() {
        let connection = onboarding::with_token(args.forge, &wish, token()?).map_err(Failure::new)?;
        let account = connection
            .check(&options)
            .await
            .map_err(|error| forge_failure(&error))?;
        let next = format!(
            "Signed in as {}; it reaches {} repositories.",
            account.name, account.repositories
        );
        (connection, next)
    } else {
        let registered = app_registration::register(&wish, &options).await?;
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
            say(format!("secret/{name}{created}"))?;
            say(format!("{}{created}", full_name(&objects.1)))?;
        }
    }
    note(&next);
    Ok(())
}

/// The token on standard input, without the white space around it.
fn token() -> Result<Secret, Failure> {
    let mut text = Vec::new();
    std::io::stdin()
        .take(LONGEST_TOKEN)
        .read_to_end(&mut text)
        .map_err(|error| Failure::new(format!("cannot read the token from standard input: {error}")))?;
    Ok(Secret::new(text).trimmed())
}

fn http_options() -> HttpOptions {
    let mut options = HttpOptions::default();
    options.allow_loopback_http = true;
    options.proxy = config::https_proxy().map(|(url, except)| HttpsProxy { url, except });
    options
}

type Objects = (KubeSecret, GitProvider);

fn objects(args: &Connect, name: &str, connection: &Connection) -> Objects {
    let metadata = || ObjectMeta {
        name: Some(name.to_owned()),
        namespace: args.connection.namespace.clone(),
        ..ObjectMeta::default()
    };
    let data: BTreeMap<String, String> = connection
        .secret
        .iter()
        .map(|(key, value)| {
            (
                (*key).to_owned(),
                String::from_utf8_lossy(value.expose()).into_owned(),
            )
        })
        .collect();
    let secret = KubeSecret {
        metadata: metadata(),
        string_data: Some(data),
        ..KubeSecret::default()
    };
    let mut spec = connection.spec.clone();
    if args.all_namespaces {
        spec.allowed_namespaces.from = AllowedFrom::All;
    }
    let provider = GitProvider {
        metadata: metadata(),
        spec,
        status: None,
    };
    (secret, provider)
}

async fn create(cluster: &Cluster, (secret, provider): &Objects, dry_run: bool) -> Result<(), Failure> {
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
    let made = secrets.create(&params, secret).await;
    made.map_err(|error| refused(error, "secret", secret.name_any()))?;
    let providers: Api<GitProvider> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let made = providers.create(&params, provider).await;
    made.map_err(|error| refused(error, "gitprovider.davit.dev", provider.name_any()))?;
    Ok(())
}

/// Prints the objects for a repository from which they are applied.
fn print(format: Option<Format>, (secret, provider): &Objects) -> Result<(), Failure> {
    let all: Vec<Value> = [serde_json::to_value(secret), serde_json::to_value(provider)]
        .into_iter()
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
