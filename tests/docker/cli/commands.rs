//! The commands that need no Application: what they print.

use std::fs;

use regex::Regex;

use super::session::Session;

#[test]
fn crds_backup_and_restore_say_what_they_wrote() {
    let mut session = Session::new("keeps");
    session.without_namespace = true;
    let crds = session.types(&["crds"], 0);
    assert_eq!(crds.matches("kind: CustomResourceDefinition").count(), 3);
    session.transcript.clear();
    let data = session.davit.data_dir().display().to_string();
    let file = session.davit.dir().join("backup").display().to_string();
    let new = session.davit.dir().join("new").display().to_string();
    let key = format!("{data}/apiserver/encryption.key");
    session.types(&["backup", &file, "--data-dir", &data], 0);
    fs::create_dir_all(session.davit.data_dir().join("uploads/keeps")).unwrap();
    session.types(&["backup", &file, "--data-dir", &data], 0);
    session.types(&["backup", "/nowhere/backup", "--data-dir", &data], 1);
    session.types(&["backup", &file, "--data-dir", &new], 1);
    session.types(&["restore", &file, "--data-dir", &new], 1);
    session.types(&["restore", &file, "--data-dir", &new, "--key", &key], 0);
    session.types(&["restore", &file, "--data-dir", &new, "--key", &key], 1);
    session.types(&["restore", "nowhere", "--data-dir", &new, "--key", &key], 1);
    let dir = session.davit.dir().display().to_string();
    let text = session.transcript.replace(&dir, "DIR");
    let text = Regex::new(r"/tmp/[^/ ]+/|DIR/")
        .unwrap()
        .replace_all(&text, "DIR/");
    let text = Regex::new(r"\d+ objects")
        .unwrap()
        .replace_all(&text, "N objects");
    let text = Regex::new(r"\.davit-backup\w+")
        .unwrap()
        .replace_all(&text, ".davit-backup");
    let text = Regex::new(r"at revision \d+")
        .unwrap()
        .replace_all(&text, "at revision N");
    insta::assert_snapshot!(text);
}
