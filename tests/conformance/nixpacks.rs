//! The real nixpacks: its plans of small projects are those in `src/builder/nixpacks/testdata`, which `UPDATE=1` writes anew.
//! `buildkitd/nixpacks.rs` builds one on a local stand-in for its base image.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{peers, run};

/// Each project with its files.
#[rustfmt::skip]
const PROJECTS: &[(&str, &[(&str, &str)])] = &[
    ("node", &[("package.json", "{\"name\":\"shop\",\"scripts\":{\"build\":\"node build.js\",\"start\":\"node index.js\"},\"engines\":{\"node\":\"22\"}}"), ("package-lock.json", "{\"lockfileVersion\":3,\"packages\":{}}")]),
    ("node-yarn", &[("package.json", "{\"name\":\"shop\",\"scripts\":{\"start\":\"node index.js\"}}"), ("yarn.lock", "")]),
    ("bun", &[("package.json", "{\"name\":\"shop\",\"scripts\":{\"start\":\"bun index.ts\"}}"), ("bun.lockb", ""), ("index.ts", "")]),
    ("deno", &[("deno.json", "{}"), ("index.ts", "import { serve } from \"https://deno.land/std@0.150.0/http/server.ts\";\n")]),
    ("python", &[("requirements.txt", "flask==3.0.0\n"), ("main.py", "print(1)\n")]),
    ("python-poetry", &[("pyproject.toml", "[tool.poetry]\nname = \"shop\"\n[tool.poetry.dependencies]\npython = \"^3.11\"\n"), ("poetry.lock", ""), ("main.py", "")]),
    ("go", &[("go.mod", "module example.com/shop\n\ngo 1.21\n"), ("main.go", "package main\n\nfunc main() {}\n")]),
    ("rust", &[("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"), ("src/main.rs", "fn main() {}\n")]),
    ("ruby", &[("Gemfile", "source \"https://rubygems.org\"\nruby \"3.2.2\"\ngem \"rack\"\n"), ("Gemfile.lock", "GEM\n  specs:\n    rack (3.0.0)\n\nBUNDLED WITH\n   2.4.10\n"), ("config.ru", "run ->(e) { [200, {}, []] }\n")]),
    ("php", &[("index.php", "<?php echo 1;\n"), ("composer.json", "{\"require\":{\"php\":\">=8.2\"}}")]),
    ("java-maven", &[("pom.xml", "<project><artifactId>shop</artifactId></project>\n"), ("src/Main.java", "")]),
    ("kotlin-gradle", &[("gradlew", "#!/bin/sh\n"), ("build.gradle.kts", ""), ("gradle/wrapper/gradle-wrapper.properties", "distributionUrl=https\\://services.gradle.org/distributions/gradle-8.5-bin.zip\n")]),
    ("scala", &[("build.sbt", "name := \"shop\"\n")]),
    ("clojure", &[("project.clj", "(defproject shop \"0.1.0\" :main shop.core)\n")]),
    ("csharp", &[("shop.csproj", "<Project Sdk=\"Microsoft.NET.Sdk.Web\"><PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup></Project>\n")]),
    ("fsharp", &[("shop.fsproj", "<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><TargetFramework>net6.0</TargetFramework></PropertyGroup></Project>\n")]),
    ("elixir", &[("mix.exs", "defmodule Shop.MixProject do\n  def project do\n    [app: :shop, elixir: \"~> 1.15\"]\n  end\nend\n")]),
    ("haskell", &[("package.yaml", "name: shop\nexecutables:\n  shop:\n    main: Main.hs\n"), ("stack.yaml", "resolver: lts-20.0\n"), ("Main.hs", "main = pure ()\n")]),
    ("dart", &[("pubspec.yaml", "name: shop\nversion: 1.0.0\nenvironment:\n  sdk: '>=2.17.0 <3.0.0'\n"), ("bin/shop.dart", "void main() {}\n")]),
    ("crystal", &[("shard.yml", "name: shop\nversion: 0.1.0\ntargets:\n  shop:\n    main: src/shop.cr\n"), ("src/shop.cr", "puts 1\n")]),
    ("swift", &[("Package.swift", "// swift-tools-version:5.5\nimport PackageDescription\nlet package = Package(name: \"shop\", targets: [.executableTarget(name: \"shop\")])\n"), ("Sources/shop/main.swift", "print(1)\n")]),
    ("zig", &[("build.zig", ""), ("src/main.zig", "pub fn main() void {}\n")]),
    ("cobol", &[("index.cbl", "       IDENTIFICATION DIVISION.\n")]),
    ("scheme", &[("haunt.scm", "(use-modules (haunt site))\n")]),
    ("staticfile", &[("index.html", "<p>home\n"), ("Staticfile", "root: .\n")]),
    ("toml", &[("nixpacks.toml", "providers = []\nbuildImage = \"example.com/base:1\"\n[variables]\nMODE = \"$HOME \\\"x\\\"\"\n[phases.setup]\nnixPkgs = [\"jq\"]\nnixLibs = [\"openssl\"]\naptPkgs = [\"curl\"]\n[phases.build]\ncmds = [\"make all && echo 'done'\"]\ndependsOn = [\"setup\"]\nonlyIncludeFiles = [\"Makefile\", \"src\"]\ncacheDirectories = [\"~/.cache\", \"obj\"]\npaths = [\"/app/bin\"]\n[start]\ncmd = \"./bin/shop --name \\\"a b\\\"\"\nrunImage = \"example.com/run:1\"\nonlyIncludeFiles = [\"./bin\"]\nuser = \"shop\"\n"), ("Makefile", "")]),
];

fn nixpacks() -> PathBuf {
    peers::file("nixpacks-1.41.0/nixpacks")
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn nixpacks_plans_projects_of_twenty_languages_as_recorded() {
    assert!(PROJECTS.len() >= 20);
    for (name, files) in PROJECTS {
        // Some plans contain the name of the directory.
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(name);
        write(&root, files);
        let mut command = Command::new(nixpacks());
        command.arg("plan").arg(&root).args(["--format", "json"]);
        let plan = run(command.env_clear().env("HOME", dir.path()));
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/builder/nixpacks/testdata")
            .join(format!("{name}.json"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&recorded, format!("{plan}\n")).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&recorded).unwrap().trim(),
            plan.trim(),
            "{name}"
        );
    }
}
