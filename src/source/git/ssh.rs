//! ssh for Git, without a shell. Git takes a program for ssh (`GIT_SSH`) but gives it no options of ours, and would run
//! a command with options (`GIT_SSH_COMMAND`) through a shell. So Git is given a link to Davit itself, beside a file
//! of ssh's own configuration; Davit sees by the link's name what is meant and becomes
//! `ssh -F THAT_FILE …`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::process::Program;

/// The name of the link.
pub(super) const LINK: &str = "davit-git-ssh";
/// The name of the configuration beside it.
pub(super) const CONFIG: &str = "ssh_config";

/// Becomes ssh if Git started this program as its ssh; `main` calls this first. Returns the error, or `None` if Davit was
/// started under its own name.
pub fn become_ssh_if_called_so() -> Option<io::Error> {
    let mut args = std::env::args_os();
    let name = args.next()?;
    let link = Path::new(&name);
    if link.file_name() != Some(OsStr::new(LINK)) {
        return None;
    }
    let config = link.with_file_name(CONFIG);
    Some(Program::new("ssh").arg("-F").arg(config).args(args).exec())
}

/// What ssh is told for one conversation; `dir` holds `key` and, unless any host key is accepted, `known_hosts`.
/// Nothing of the user's or the machine's configuration, agents or keys has a part in it.
pub(super) fn config(dir: &Path, ignore_host_key: bool, connect_timeout: u64) -> String {
    let dir = quoted(dir);
    let (strict, known_hosts) = if ignore_host_key {
        ("no", "/dev/null".to_owned())
    } else {
        ("yes", format!("\"{dir}/known_hosts\""))
    };
    format!(
        "Host *\n\
         IdentityFile \"{dir}/key\"\n\
         IdentitiesOnly yes\n\
         IdentityAgent none\n\
         PreferredAuthentications publickey\n\
         BatchMode yes\n\
         StrictHostKeyChecking {strict}\n\
         UserKnownHostsFile {known_hosts}\n\
         GlobalKnownHostsFile /dev/null\n\
         UpdateHostKeys no\n\
         CheckHostIP no\n\
         ConnectTimeout {connect_timeout}\n\
         ServerAliveInterval 15\n\
         ServerAliveCountMax 4\n\
         ControlMaster no\n\
         ControlPath none\n\
         ForwardAgent no\n\
         ForwardX11 no\n\
         PermitLocalCommand no\n\
         RequestTTY no\n\
         LogLevel ERROR\n"
    )
}

/// ssh expands `%` in these names; [`is_usable`] has refused what cannot be escaped.
fn quoted(dir: &Path) -> String {
    dir.to_string_lossy().replace('%', "%%")
}

/// Whether ssh's configuration can name files beneath this directory.
pub(super) fn is_usable(dir: &Path) -> bool {
    dir.is_absolute()
        && dir
            .to_str()
            .is_some_and(|text| !text.contains(['"', '\\', '\n', '$']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_accepts_any_host_key_only_when_told_to() {
        let strict = config(Path::new("/a b/100%"), false, 20);
        assert!(strict.contains("StrictHostKeyChecking yes\n"));
        assert!(strict.contains("UserKnownHostsFile \"/a b/100%%/known_hosts\"\n"));
        let open = config(Path::new("/a"), true, 20);
        assert!(
            open.contains("StrictHostKeyChecking no\n") && open.contains("UserKnownHostsFile /dev/null\n")
        );
        assert!(is_usable(Path::new("/a b")));
        for path in ["a", "/a\"b", "/a\nb", "/${HOME}"] {
            assert!(!is_usable(Path::new(path)), "{path}");
        }
    }
}
