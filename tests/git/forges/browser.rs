//! The browser of a user of a real Gitea.

use crate::common::gitea::Gitea;

const FORM: &str = "application/x-www-form-urlencoded";

fn form(pairs: &[(&str, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// What a user of Gitea does in the browser: signs in, opens the page, and authorises the application. Returns the address to
/// which the browser is led then.
pub async fn authorise(gitea: &Gitea, authorize: &str) -> String {
    let asked = url::Url::parse(authorize).unwrap();
    let asked: std::collections::BTreeMap<String, String> = asked.query_pairs().into_owned().collect();
    // reqwest is built without a provider of its own.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let mut cookies = std::collections::BTreeMap::new();
    let mut send = async |request: reqwest::RequestBuilder| {
        let jar: Vec<String> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answer = request.header("cookie", jar.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = answer
            .headers()
            .get("location")
            .map(|value| value.to_str().unwrap().to_owned());
        (location, answer.text().await.unwrap())
    };
    let field = |page: &str, name: &str| {
        let (_, rest) = page
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap_or(("", ""));
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let (_, page) = send(client.get(format!("{}/user/login", gitea.url))).await;
    let login = [
        ("_csrf", field(&page, "_csrf")),
        ("user_name", gitea.user.clone()),
        ("password", gitea.password.clone()),
    ];
    send(
        client
            .post(format!("{}/user/login", gitea.url))
            .header("content-type", FORM)
            .body(form(&login)),
    )
    .await;
    let value = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let (_, form_page) = send(client.get(authorize)).await;
    let grant = [
        ("_csrf", field(&form_page, "_csrf")),
        ("client_id", value("client_id")),
        ("state", value("state")),
        ("scope", value("scope")),
        ("nonce", String::new()),
        ("redirect_uri", value("redirect_uri")),
        ("granted", "true".to_owned()),
    ];
    let (location, page) = send(
        client
            .post(format!("{}/login/oauth/grant", gitea.url))
            .header("content-type", FORM)
            .body(form(&grant)),
    )
    .await;
    location.unwrap_or_else(|| panic!("no redirection, but {page}"))
}
