//! Plans of railpack's own test suite (testdata, from railpack 0.9.0, MIT licence) and plans that cannot be built.

use super::dockerfile::{Context, convert};
use super::plan::Plan;

fn dockerfile(plan: &str) -> Result<String, String> {
    let plan: Plan = serde_json::from_str(plan).map_err(|error| error.to_string())?;
    let context = Context {
        cache_key: "key",
        cache_mark: "mark",
        secrets_hash: "hash",
        find: &|pattern| match pattern {
            "package-lock.json" => Vec::new(),
            "Cargo.toml*" => vec!["Cargo.toml".to_owned()],
            "lib*" => vec!["lib".to_owned(), "libs".to_owned()],
            other => vec![other.to_owned()],
        },
    };
    convert(&plan, &context)
}

#[test]
fn node_plan_becomes_a_stage_for_each_step() {
    let text = dockerfile(include_str!("testdata/node-npm.json")).unwrap();
    let expected = r#"FROM ghcr.io/railwayapp/railpack-builder:latest AS s0
USER 0:0
WORKDIR /app
ENV MISE_CACHE_DIR="/mise/cache"
ENV MISE_CONFIG_DIR="/mise"
ENV MISE_DATA_DIR="/mise"
ENV MISE_INSTALLS_DIR="/mise/installs"
ENV MISE_NODE_VERIFY="false"
ENV MISE_SHIMS_DIR="/mise/shims"
ENV PATH="/mise/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"#;
    assert!(text.starts_with(expected), "{text}");
    for line in [
        // The quotes of the plan's command are those of a shell, but no shell reads it.
        r#"RUN ["sh","-c","mise trust -a && mise install"]"#,
        r#"RUN ["mkdir","-p","--","/etc/mise","/mise","/root/.local/state","/usr/local/bin"]"#,
        "FROM s0 AS s1",
        r#"ENV PATH="/app/node_modules/.bin:/mise/shims:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin""#,
        r#"COPY ["package.json","package.json"]"#,
        r#"RUN --mount=type=cache,id=key-npm-install,target=/root/.npm,sharing=shared ["/bin/sh","-c",": mark; exec \"$@\"","sh","npm","ci"]"#,
        r#"COPY [".","/app"]"#,
        r#"RUN ["/bin/sh","-c","rm -rf -- /root/.cache/node_modules; rm -rf -- /root/.cache/.yarn; rm -rf -- /app/node_modules; rm -rf -- /app/.yarn; true"]"#,
        "FROM ghcr.io/railwayapp/railpack-runtime:latest AS image",
        r#"COPY --from=s0 ["/mise/shim[s]","/mise/shims"]"#,
        r#"COPY --from=f0 ["/ap[p]","/app"]"#,
        r#"ENV NODE_ENV="production""#,
        r#"ENTRYPOINT ["/bin/bash", "-c"]"#,
        r#"CMD ["npm run start"]"#,
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(
        !text.contains("package-lock.json"),
        "a file that the source lacks:\n{text}"
    );
}

#[test]
fn every_kind_of_plan_is_converted() {
    for (plan, line) in [
        (include_str!("testdata/python-pip.json"), "rm -rf -- /app/.venv"),
        (
            include_str!("testdata/php-vanilla.json"),
            "/usr/local/etc/php/conf.d/php.ini",
        ),
        (
            include_str!("testdata/rust-system-deps.json"),
            "rm -rf -- /app/target",
        ),
        (
            include_str!("testdata/rust-system-deps.json"),
            r#"COPY ["Cargo.toml","./Cargo.toml"]"#,
        ),
        (
            include_str!("testdata/dockerignore.json"),
            "COPY [\".\",\"/app\"]",
        ),
        (include_str!("testdata/secrets.json"), ": hash; "),
    ] {
        let text = dockerfile(plan).unwrap();
        assert!(text.contains(line), "{line} is not in\n{text}");
        assert!(text.lines().all(|line| line.len() < 60_000));
    }
}

#[test]
fn values_of_a_plan_cannot_become_instructions() {
    let step = |step: &str| {
        format!(
            r#"{{"steps":[{{"name":"a","inputs":[{{"image":"i"}}],{step}}}],"deploy":{{"base":{{"step":"a"}}}}}}"#
        )
    };
    let text = dockerfile(&step(r#""commands":[{"src":"lib*","dest":"."}]"#)).unwrap();
    assert!(
        text.contains("COPY [\"lib\",\"./lib\"]\nCOPY [\"libs\",\"./libs\"]\n"),
        "{text}"
    );
    let text = dockerfile(&step(
        r#""variables":{"A":"$B \"c\" \\ #"},"commands":[{"cmd":"echo '$HOME' \"\n\" x"}]"#,
    ))
    .unwrap();
    assert!(text.contains(r#"ENV A="\$B \"c\" \\ #""#), "{text}");
    assert!(text.contains(r#"RUN ["echo","$HOME","\n","x"]"#), "{text}");
    for (bad, why) in [
        (step(r#""variables":{"A":"x\nRUN y"}"#), "several lines"),
        (step(r#""variables":{"A B":"x"}"#), "no valid name"),
        (step(r#""commands":[{"src":"a\nRUN y","dest":"b"}]"#), "several lines"),
        (step(r#""commands":[{"image":"x\nRUN y","src":"a","dest":"b"}]"#), "not the name of an image"),
        (step(r#""commands":[{"cmd":"echo 'x"}]"#), "quotes"),
        (step(r#""commands":[{"name":"gone","path":"/x"}]"#), "no asset gone"),
        (step(r#""caches":["gone"],"commands":[{"cmd":"x"}]"#), "no cache gone"),
        (
            r#"{"steps":[{"name":"a","inputs":[{"step":"b"}]},{"name":"b","inputs":[{"step":"a"}]}],"deploy":{"base":{"step":"a"}}}"#.to_owned(),
            "depends on itself",
        ),
        (r#"{"deploy":{"base":{"step":"a"}}}"#.to_owned(), "no step a"),
        (
            r#"{"steps":[{"name":"a","inputs":[{"image":"i"}]}],"deploy":{"base":{"image":"i"},"inputs":[{"step":"a","include":["."],"exclude":["!x"]}]}}"#.to_owned(),
            "is not supported",
        ),
    ] {
        let error = dockerfile(&bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
}
