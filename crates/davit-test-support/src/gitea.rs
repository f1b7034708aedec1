//! A real Gitea 1.26 on loopback, with a user, a token and repositories.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::git_repo::{GitRepo, git};
use super::http::{Reply, request};
use super::process::{Daemon, NOBODY, Port, User, command};
use super::{is_root, peers, run, wait_for};

const PROGRAM: &str = "gitea-1.26.0/gitea";

/// A running Gitea with one administrator, `davit`.
pub struct Gitea {
    /// Its base address, as a user would write it into a GitProvider.
    pub url: String,
    /// The administrator's name.
    pub user: String,
    /// The administrator's password.
    pub password: String,
    /// A token of the administrator's with every scope.
    pub token: String,
    dir: TempDir,
    _port: Port,
    daemon: Daemon,
}

impl Gitea {
    /// Starts a new, empty one.
    pub fn start() -> Self {
        let program = peers::file(PROGRAM);
        let dir = tempfile::tempdir().unwrap();
        let port = Port::take();
        let url = format!("http://127.0.0.1:{}", port.number());
        let data = dir.path();
        std::fs::create_dir_all(data.join("custom/conf")).unwrap();
        let text = configuration(data, program.parent().unwrap(), port.number());
        std::fs::write(data.join("custom/conf/app.ini"), text).unwrap();
        if is_root() {
            for path in ["", "custom", "custom/conf", "custom/conf/app.ini"] {
                chown(data.join(path), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700)).unwrap();

        run(gitea(data).arg("migrate"));
        let (user, password) = ("davit".to_owned(), "gitea-pass-90c1".to_owned());
        run(gitea(data)
            .args([
                "admin",
                "user",
                "create",
                "--admin",
                "--must-change-password=false",
            ])
            .args([
                "--username",
                &user,
                "--password",
                &password,
                "--email",
                "davit@example.com",
            ]));
        let token = run(gitea(data)
            .args([
                "admin",
                "user",
                "generate-access-token",
                "--raw",
                "--scopes",
                "all",
            ])
            .args(["--username", &user, "--token-name", "rig"]));
        let mut web = gitea(data);
        web.arg("web");
        let mut daemon = Daemon::start("gitea", web, &data.join("gitea.log"));
        daemon.wait_ready(Duration::from_mins(1), || {
            request("GET", &format!("{url}/api/healthz")).send().status == 200
        });
        Self {
            url,
            user,
            password,
            token,
            dir,
            _port: port,
            daemon,
        }
    }

    /// One request to the API (`path` follows `/api/v1`) with `token`, if any.
    pub fn api(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        let mut request = request(method, &format!("{}/api/v1{path}", self.url));
        if let Some(token) = token {
            request = request.header(&format!("Authorization: token {token}"));
        }
        match body {
            Some(body) => request.json(body).send(),
            None => request.send(),
        }
    }

    /// A new user without rights over anything but what is theirs; the password is `NAME-pass-77`.
    pub fn create_user(&self, name: &str) {
        let body = json!({"username": name, "email": format!("{name}@example.com"),
            "password": format!("{name}-pass-77"), "must_change_password": false});
        self.api("POST", "/admin/users", Some(&self.token), Some(&body))
            .expect(201);
    }

    /// A new token of `user` with these scopes, such as `read:repository`.
    pub fn create_token(&self, user: &str, scopes: &[&str]) -> String {
        let name = super::unique("token");
        let scopes = scopes.join(",");
        run(gitea(self.dir.path())
            .args([
                "admin",
                "user",
                "generate-access-token",
                "--raw",
                "--username",
                user,
            ])
            .args(["--token-name", &name, "--scopes", &scopes]))
    }

    /// A new private repository of the administrator's with a copy of `repo`'s branches and tags; returns its
    /// address for cloning, without a credential.
    pub fn create_repository(&self, name: &str, repo: &GitRepo) -> String {
        let body = json!({"name": name, "private": true, "default_branch": "main", "auto_init": false});
        self.api("POST", "/user/repos", Some(&self.token), Some(&body))
            .expect(201);
        self.push(name, repo);
        self.clone_url(name)
    }

    /// Pushes all branches and tags of `repo` into the repository `name`, as a person would.
    pub fn push(&self, name: &str, repo: &GitRepo) {
        let target = self
            .clone_url(name)
            .replace("http://", &format!("http://{}:{}@", self.user, self.token));
        for refs in ["--all", "--tags"] {
            run(git(repo.path())
                .args(["push", "--quiet", "--force", refs])
                .arg(&target));
        }
        self.wait_until_shown(name, repo);
    }

    /// Waits until the API shows the branches as they were pushed. Gitea reads a push in the background: until it has
    /// done so, the repository is "empty", and a pull request of the new branch is "not found".
    fn wait_until_shown(&self, name: &str, repo: &GitRepo) {
        let pushed = repo.git([
            "for-each-ref",
            "--format=%(refname:short) %(objectname)",
            "refs/heads",
        ]);
        if pushed.is_empty() {
            return;
        }
        let get = |path: &str| {
            let path = format!("/repos/{}/{name}{path}", self.user);
            self.api("GET", &path, Some(&self.token), None)
        };
        wait_for("Gitea to show the push", Duration::from_mins(1), || {
            let repository = get("");
            if (300..400).contains(&repository.status) {
                // It has another name now, which this test knows.
                return Some(());
            }
            let has_content = repository.expect(200).json()["empty"] == false;
            let mut branches = Vec::new();
            for page in 1.. {
                let found = get(&format!("/branches?limit=50&page={page}")).expect(200).json();
                let found = found.as_array().cloned().unwrap_or_default();
                if found.is_empty() {
                    break;
                }
                branches.extend(found);
            }
            let is_shown = |line: &str| {
                branches.iter().any(|found| {
                    let [name, commit] = [&found["name"], &found["commit"]["id"]].map(Value::as_str);
                    line == format!("{} {}", name.unwrap(), commit.unwrap())
                })
            };
            (has_content && pushed.lines().all(is_shown)).then_some(())
        });
    }

    /// Uploads an object into the Git LFS store of the repository `name`, as `git lfs push` does.
    pub fn upload_lfs(&self, name: &str, oid: &str, content: &str) {
        let body = json!({"operation": "upload", "transfers": ["basic"],
            "objects": [{"oid": oid, "size": content.len()}]});
        let answer = request(
            "POST",
            &format!("{}/info/lfs/objects/batch", self.clone_url(name)),
        )
        .basic(&self.user, &self.token)
        .header("Accept: application/vnd.git-lfs+json")
        .body("application/vnd.git-lfs+json", &body.to_string())
        .send()
        .expect(200)
        .json();
        let upload = &answer["objects"][0]["actions"]["upload"];
        let mut put = request("PUT", upload["href"].as_str().unwrap());
        for (name, value) in upload["header"].as_object().unwrap() {
            put = put.header(&format!("{name}: {}", value.as_str().unwrap()));
        }
        put.body("application/octet-stream", content).send().expect(200);
    }

    /// The address for cloning the administrator's repository `name`, without a credential.
    pub fn clone_url(&self, name: &str) -> String {
        format!("{}/{}/{name}.git", self.url, self.user)
    }

    /// Ends it, and with it the answer to every request: what a client sees when a forge is down.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }
}

/// The program on the data in `data`, as a user it does not refuse.
fn gitea(data: &Path) -> Command {
    let mut command = command(peers::file(PROGRAM), User::Unprivileged);
    // Its own children (git, hooks) are found by PATH and keep their state in HOME.
    command
        .env("HOME", data)
        .env("USER", "nobody")
        .env("GITEA_WORK_DIR", data)
        .current_dir(data);
    command.env_remove("XDG_CONFIG_HOME").env_remove("GIT_SSL_CAINFO");
    command.arg("--config").arg(data.join("custom/conf/app.ini"));
    command
}

fn configuration(data: &Path, program: &Path, port: u16) -> String {
    let user = if is_root() {
        "nobody".to_owned()
    } else {
        run(Command::new("id").arg("-un"))
    };
    let data = data.display();
    let program = program.display();
    format!(
        "APP_NAME = Gitea of a test\nRUN_USER = {user}\nRUN_MODE = prod\nWORK_PATH = {data}\n\
         [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://127.0.0.1:{port}/\n\
         DOMAIN = 127.0.0.1\nDISABLE_SSH = true\nOFFLINE_MODE = true\nSTATIC_ROOT_PATH = {program}\n\
         APP_DATA_PATH = {data}/data\nLFS_START_SERVER = true\n\
         LFS_JWT_SECRET = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n[lfs]\nPATH = {data}/lfs\n\
         [database]\nDB_TYPE = sqlite3\nPATH = {data}/gitea.db\nSQLITE_JOURNAL_MODE = WAL\nSQLITE_TIMEOUT = 30000\n\
         [security]\nINSTALL_LOCK = true\nSECRET_KEY = only-for-one-test\nINTERNAL_TOKEN = only-for-one-test-too\n\
         PASSWORD_HASH_ALGO = pbkdf2_v1\n\
         [oauth2]\nJWT_SECRET = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
         [service]\nDISABLE_REGISTRATION = true\nDEFAULT_KEEP_EMAIL_PRIVATE = true\n\
         [webhook]\nALLOWED_HOST_LIST = loopback\nDELIVER_TIMEOUT = 5\n\
         [repository]\nROOT = {data}/repositories\n\
         [session]\nPROVIDER = memory\n[mailer]\nENABLED = false\n[indexer]\nISSUE_INDEXER_TYPE = db\n\
         [cron]\nENABLED = false\n[actions]\nENABLED = false\n[packages]\nENABLED = false\n\
         [log]\nMODE = console\nLEVEL = Info\nROOT_PATH = {data}/log\n"
    )
}
