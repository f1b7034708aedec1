//! Real Git servers on loopback: `git-http-backend` behind nginx with TLS, and OpenSSH's `sshd`. Both serve the same
//! kind of directory of bare repositories.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::git_repo::{GitRepo, git};
use super::process::{Daemon, Port, User, command};
use super::tls::TestCa;
use super::{http, is_root, run};

/// Bare repositories in one directory.
struct Repositories(PathBuf);

impl Repositories {
    fn new(dir: &Path) -> Self {
        let path = dir.join("repositories");
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn publish(&self, name: &str, repo: &GitRepo) {
        let bare = self.0.join(name);
        if !bare.exists() {
            std::fs::create_dir_all(&bare).unwrap();
            run(git(&bare).args(["init", "--quiet", "--bare", "--initial-branch", "main"]));
        }
        repo.mirror_to(&bare);
    }
}

/// The authentication that an https address requires. Every repository is served at all three addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Anonymous,
    /// [`GitHttps::user`] with [`GitHttps::password`].
    Basic,
    /// [`GitHttps::bearer`].
    Bearer,
}

/// `git-http-backend` over https, with a certificate of an authority that no machine trusts.
pub struct GitHttps {
    /// The authority and the server's certificate.
    pub ca: TestCa,
    /// The user of [`Access::Basic`].
    pub user: String,
    /// The password of [`Access::Basic`].
    pub password: String,
    /// The token of [`Access::Bearer`].
    pub bearer: String,
    address: String,
    _port: Port,
    repositories: Repositories,
    dir: TempDir,
    nginx: Daemon,
    _fcgiwrap: Daemon,
}

impl GitHttps {
    /// Starts it, empty.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// Starts it on another address of the machine.
    pub fn start_at(ip: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let port = Port::take();
        let address = format!("{ip}:{}", port.number());
        let ca = TestCa::for_names(root, &[ip, "localhost"]);
        let repositories = Repositories::new(root);
        let (user, password, bearer) = ("reader", "basic-pass-1f3a", "bearer-token-77c0");
        run(Command::new("htpasswd")
            .args(["-b", "-c"])
            .arg(root.join("htpasswd"))
            .args([user, password]));

        let socket = root.join("cgi");
        let mut cgi = command("fcgiwrap", User::Own);
        // Two workers, since a client may have a second request under way; -f puts what git says into our log.
        cgi.args(["-f", "-c", "2", "-s"])
            .arg(format!("unix:{}", socket.display()));
        let mut fcgiwrap = Daemon::start("fcgiwrap", cgi, &root.join("cgi.log"));
        fcgiwrap.wait_ready(Duration::from_secs(10), || socket.exists());

        std::fs::write(
            root.join("nginx.conf"),
            nginx_configuration(root, &address, bearer),
        )
        .unwrap();
        let mut server = command("nginx", User::Own);
        server
            .arg("-e")
            .arg(root.join("error.log"))
            .arg("-p")
            .arg(root)
            .arg("-c")
            .arg(root.join("nginx.conf"));
        let mut nginx = Daemon::start("nginx", server, &root.join("error.log"));
        let url = format!("https://{address}/");
        nginx.wait_ready(Duration::from_secs(10), || {
            http::request("GET", &url).ca(&ca.ca_file).send().status == 404
        });
        Self {
            ca,
            user: user.to_owned(),
            password: password.to_owned(),
            bearer: bearer.to_owned(),
            address,
            _port: port,
            repositories,
            dir,
            nginx,
            _fcgiwrap: fcgiwrap,
        }
    }

    /// Makes the repository `name` (as `shop.git` or `group/shop.git`) the same as `repo`.
    pub fn publish(&self, name: &str, repo: &GitRepo) {
        self.repositories.publish(name, repo);
    }

    /// The address of the repository `name` for clients with this kind of access; it carries no credential.
    pub fn url(&self, access: Access, name: &str) -> String {
        let area = match access {
            Access::Anonymous => "anonymous",
            Access::Basic => "basic",
            Access::Bearer => "bearer",
        };
        format!("https://{}/{area}/{name}", self.address)
    }

    /// The requests so far, a line each: `METHOD PATH STATUS`.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Ends the server and keeps its address: what a client sees when a Git server is down.
    pub fn stop(&mut self) {
        self.nginx.stop();
    }
}

fn nginx_configuration(root: &Path, address: &str, bearer: &str) -> String {
    let root = root.display();
    // nginx started by root would run its workers as another user, which cannot read the test's directory.
    let user = if is_root() { "user root;" } else { "" };
    let backend = format!(
        "fastcgi_pass unix:{root}/cgi; include {root}/cgi.conf; fastcgi_param PATH_INFO $1; \
         fastcgi_param REMOTE_USER $remote_user;"
    );
    let exec = git_exec_path();
    let cgi = format!(
        "fastcgi_param SCRIPT_FILENAME {exec}/git-http-backend; fastcgi_param GIT_PROJECT_ROOT {root}/repositories;\n\
         fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param GIT_PROTOCOL $http_git_protocol;\n\
         fastcgi_param GIT_CONFIG_GLOBAL /dev/null; fastcgi_param GIT_CONFIG_NOSYSTEM 1;\n\
         fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;\n\
         fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;\n\
         fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding; fastcgi_param REMOTE_ADDR $remote_addr;\n"
    );
    std::fs::write(format!("{root}/cgi.conf"), cgi).unwrap();
    format!(
        r#"daemon off; {user} worker_processes 1; pid {root}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  log_format short '$request_method $request_uri $status'; access_log {root}/access.log short;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5; client_max_body_size 0;
  server {{
    listen {address} ssl;
    ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.key;
    location ~ ^/anonymous(/.*)$ {{ {backend} }}
    location ~ ^/basic(/.*)$ {{ auth_basic davit; auth_basic_user_file {root}/htpasswd; {backend} }}
    location ~ ^/bearer(/.*)$ {{
      if ($http_authorization != "Bearer {bearer}") {{ add_header WWW-Authenticate Bearer always; return 401; }}
      {backend}
    }}
    location / {{ return 404; }}
  }}
}}
"#
    )
}

fn git_exec_path() -> String {
    run(Command::new("git").arg("--exec-path"))
}

/// OpenSSH's `sshd`, which lets one key in and only for Git.
pub struct GitSsh {
    /// The private key that is let in, in OpenSSH's format: what a user would put in a Secret.
    pub client_key: String,
    /// A good key that is not let in.
    pub stranger_key: String,
    port: Port,
    repositories: Repositories,
    dir: TempDir,
    daemon: Option<Daemon>,
}

impl GitSsh {
    /// Starts it, empty.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for key in ["host", "client", "stranger"] {
            keygen(root, key);
        }
        let public = std::fs::read_to_string(root.join("client.pub")).unwrap();
        let only_git = format!(
            r#"restrict,command="case \"$SSH_ORIGINAL_COMMAND\" in git-lfs-authenticate*) cat {};; *) git-shell -c \"$SSH_ORIGINAL_COMMAND\";; esac" "#,
            root.join("lfs-authenticate").display()
        );
        std::fs::write(root.join("authorized_keys"), format!("{only_git}{public}")).unwrap();
        if is_root() {
            // Where sshd shuts its unprivileged half in; Debian's service would make it.
            std::fs::create_dir_all("/run/sshd").unwrap();
            std::fs::set_permissions("/run/sshd", std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let mut server = Self {
            client_key: read("client"),
            stranger_key: read("stranger"),
            port: Port::take(),
            repositories: Repositories::new(root),
            daemon: None,
            dir,
        };
        server.serve();
        server
    }

    /// Sets what `git-lfs-authenticate` prints; without it, the command fails.
    pub fn answer_lfs_authenticate(&self, json: &str) {
        std::fs::write(self.dir.path().join("lfs-authenticate"), json).unwrap();
    }

    fn serve(&mut self) {
        let root = self.dir.path();
        let port = self.port.number();
        let text = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\n\
             PidFile {0}/sshd.pid\nAuthenticationMethods publickey\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             AcceptEnv GIT_PROTOCOL\nMaxStartups 100\nLogLevel VERBOSE\n",
            root.display()
        );
        std::fs::write(root.join("sshd_config"), text).unwrap();
        // sshd starts itself anew for each connection and so insists on an absolute path.
        let mut sshd = command("/usr/sbin/sshd", User::Own);
        sshd.args(["-D", "-e", "-f"]).arg(root.join("sshd_config"));
        let mut daemon = Daemon::start("sshd", sshd, &root.join("sshd.log"));
        daemon.wait_ready(Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        self.daemon = Some(daemon);
    }

    /// Makes the repository `name` the same as `repo`.
    pub fn publish(&self, name: &str, repo: &GitRepo) {
        self.repositories.publish(name, repo);
    }

    /// The address of the repository `name`.
    pub fn url(&self, name: &str) -> String {
        let user = run(Command::new("id").arg("-un"));
        let path = self.repositories.0.join(name);
        format!("ssh://{user}@127.0.0.1:{}{}", self.port.number(), path.display())
    }

    /// The line of a known_hosts file that names the present host key.
    pub fn known_hosts(&self) -> String {
        let key = std::fs::read_to_string(self.dir.path().join("host.pub")).unwrap();
        format!("[127.0.0.1]:{} {}\n", self.port.number(), key.trim())
    }

    /// Starts again at the same address with another host key: what a client sees when someone stands in between.
    pub fn change_host_key(&mut self) {
        self.daemon = None;
        let root = self.dir.path();
        std::fs::remove_file(root.join("host")).unwrap();
        std::fs::remove_file(root.join("host.pub")).unwrap();
        keygen(root, "host");
        self.serve();
    }

    /// What sshd has said so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }
}

fn keygen(dir: &Path, name: &str) {
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(dir.join(name)));
}
