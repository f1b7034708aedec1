//! A program that plans, as a stand-in: it prints or copies what the test wrote, and records what it was given.

use std::os::unix::fs::PermissionsExt as _;

use davit::builder::Planner;

use super::*;

/// A value that every step on the way could spoil.
pub const ODD: &str = "a \"b\" 'c' $HOME `id` \\ #d \u{fc} \u{1f600}\n\tnext\n\n";

pub struct Tool {
    pub dir: tempfile::TempDir,
    pub harness: Harness,
}

impl Tool {
    /// The program `name` with this script.
    pub fn new(test: &str, name: &str, script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut harness = Harness::new(test);
        let mut options = BuilderOptions::new(SOCKET, &harness.instance);
        let program = dir.path().join(name);
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = dir.path().join("home");
        let planner = match name {
            "railpack" => &mut options.railpack,
            _ => &mut options.nixpacks,
        };
        *planner = Planner {
            program: program.into(),
            home,
            ..planner.clone()
        };
        let docker = Docker::connect_with_unix(SOCKET, 120, bollard::API_DEFAULT_VERSION).unwrap();
        harness.builder = DockerBuilder::new(docker, options);
        let tool = Self { dir, harness };
        tool.write("code", "0");
        tool
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// What `docker run` of an image prints for a command of its shell.
    pub fn says(image: &BuiltImage, command: &[&str]) -> String {
        run(docker()
            .args(["run", "--rm", "--network", "none", &image.id])
            .args(command))
    }

    /// Asserts that a value is nowhere but where it was given to the commands.
    pub fn assert_hidden(&self, image: &BuiltImage, value: &str) {
        let history = run(docker().args(["history", "--no-trunc", "--format", "{{.CreatedBy}}", &image.id]));
        let config = run(docker().args(["image", "inspect", &image.id]));
        let saved = self.harness.source.path().join("saved.tar");
        run(docker().args(["save", "--output"]).arg(&saved).arg(&image.id));
        for place in [&history, &config, &self.read("args"), &self.harness.text()] {
            assert!(!place.contains(value), "{place}");
        }
        assert!(!holds(&saved, value));
    }
}
