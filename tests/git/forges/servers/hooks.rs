//! The hooks of `acme/shop`, kept as a forge keeps them: it shows everything but the secrets.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Answer, Asked, not_found};

/// The field that a forge does not show.
const SECRET: &str = "kept-secret";

/// Which fields a forge has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    GitHub,
    Gitea,
    GitLab,
    Bitbucket,
}

impl Dialect {
    fn id_key(self) -> &'static str {
        if self == Self::Bitbucket { "uuid" } else { "id" }
    }

    fn is_nested(self) -> bool {
        matches!(self, Self::GitHub | Self::Gitea)
    }

    fn id(self, number: u64) -> Value {
        if self == Self::Bitbucket {
            json!(format!("{{{number:08}-0000}}"))
        } else {
            json!(number)
        }
    }
}

pub struct Hooks {
    dialect: Dialect,
    state: Mutex<(u64, Vec<Value>)>,
}

impl Hooks {
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: Mutex::new((0, Vec::new())),
        }
    }

    /// All hooks with their secrets.
    pub fn all(&self) -> Vec<Value> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .clone()
    }

    /// Changes a hook, as a user of the forge does.
    pub fn tamper(&self, index: usize, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        change(&mut state.1[index]);
    }

    /// Adds a hook, as a user of the forge does.
    pub fn add(&self, hook: Value) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        let mut hook = hook;
        hook[self.dialect.id_key()] = self.dialect.id(state.0);
        state.1.push(hook);
    }

    pub fn url(&self, hook: &Value) -> String {
        let url = if self.dialect.is_nested() {
            &hook["config"]["url"]
        } else {
            &hook["url"]
        };
        url.as_str().unwrap_or_default().to_owned()
    }

    pub fn set_url(&self, hook: &mut Value, url: &str) {
        if self.dialect.is_nested() {
            hook["config"]["url"] = json!(url);
        } else {
            hook["url"] = json!(url);
        }
    }

    pub fn secret(hook: &Value) -> &str {
        hook[SECRET].as_str().unwrap_or_default()
    }

    /// The answer to a request below `…/hooks`.
    pub fn answer(&self, asked: &Asked, id: Option<&str>) -> Answer {
        match (asked.method.as_str(), id) {
            ("GET", None) => {
                let all: Vec<_> = self.all().into_iter().map(shown).collect();
                if self.dialect == Dialect::Bitbucket {
                    return Answer::ok(json!({"values": all, "size": all.len()}));
                }
                let length = all.len();
                Answer::ok(json!(all)).with("x-total-count", length.to_string())
            }
            ("POST", None) => {
                let mut hook = self.defaults();
                self.write(&mut hook, &asked.body);
                self.add(hook);
                Answer::new(201, shown(self.all().pop().unwrap()))
            }
            (method, Some(id)) => self.one(method, id, &asked.body),
            _ => Answer::new(405, Value::Null),
        }
    }

    fn one(&self, method: &str, id: &str, body: &Value) -> Answer {
        let mut state = self.state.lock().unwrap();
        let key = self.dialect.id_key();
        let named =
            |hook: &Value| hook[key] == id || hook[key].as_u64() == id.parse().ok() && hook[key].is_u64();
        let Some(index) = state.1.iter().position(named) else {
            return not_found();
        };
        match (method, self.dialect) {
            ("DELETE", _) => {
                state.1.remove(index);
                Answer::new(204, Value::Null)
            }
            ("PATCH", Dialect::GitHub | Dialect::Gitea) | ("PUT", Dialect::GitLab | Dialect::Bitbucket) => {
                self.write(&mut state.1[index], body);
                Answer::ok(shown(state.1[index].clone()))
            }
            ("GET", _) => Answer::ok(shown(state.1[index].clone())),
            _ => Answer::new(405, Value::Null),
        }
    }

    fn defaults(&self) -> Value {
        match self.dialect {
            Dialect::GitHub => {
                json!({"active": true, "events": ["push"], "config": {"content_type": "form", "insecure_ssl": "0"}})
            }
            Dialect::Gitea => json!({"active": false, "events": [], "config": {}, "branch_filter": ""}),
            Dialect::GitLab => {
                json!({"push_events": false, "tag_push_events": false, "enable_ssl_verification": true})
            }
            Dialect::Bitbucket => json!({"active": false, "events": []}),
        }
    }

    /// Takes a body over, with the peculiarities of each forge.
    fn write(&self, hook: &mut Value, body: &Value) {
        let is_new = hook.get(self.dialect.id_key()).is_none();
        let url = self.url(hook);
        let mut body = body.clone();
        let secret = match self.dialect {
            Dialect::GitHub | Dialect::Gitea => body["config"]
                .as_object_mut()
                .and_then(|config| config.remove("secret")),
            Dialect::GitLab => body.as_object_mut().unwrap().remove("token"),
            Dialect::Bitbucket => body.as_object_mut().unwrap().remove("secret"),
        };
        json_patch::merge(hook, &body);
        match (self.dialect, secret) {
            // An update ignores it.
            (Dialect::Gitea, _) if !is_new => {}
            (_, Some(secret)) => hook[SECRET] = secret,
            // An update of the config without the secret drops it; so does another URL.
            (Dialect::GitHub, None) if body.get("config").is_some() => hook[SECRET] = Value::Null,
            (Dialect::GitLab, None) if self.url(hook) != url => hook[SECRET] = Value::Null,
            (_, None) => {}
        }
        if self.dialect == Dialect::Bitbucket {
            hook["secret_set"] = json!(!Self::secret(hook).is_empty());
        }
    }
}

fn shown(mut hook: Value) -> Value {
    hook.as_object_mut().unwrap().remove(SECRET);
    hook
}
