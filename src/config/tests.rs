use super::*;

#[test]
fn users_who_share_an_engine_do_not_share_an_instance() {
    let of = |uid| default_instance(rustix::process::Uid::from_raw(uid));
    assert_eq!(of(0), "davit");
    assert_eq!(of(1000), "davit-1000");
    assert!(of(u32::MAX - 1).len() <= 20);
}

fn args(dir: &Path) -> args::Controller {
    args::Controller {
        data_dir: Some(dir.to_path_buf()),
        instance: None,
        docker_host: None,
        runtime: args::RuntimeKind::Docker,
        health_listen: None,
        webhook_listen: None,
        public_url: None,
        max_builds: 1,
        max_previews: 20,
        git_cache: 1,
        max_uploads: 1,
        registry: None,
        registry_config: None,
        insecure_registry: Vec::new(),
        build_cache: None,
        buildkit_host: None,
        buildkit_ca: None,
        buildkit_cert: None,
        buildkit_key: None,
        proxy: Proxy::default(),
        railpack: None,
        nixpacks: None,
        allow_local_sources: false,
        metrics_per_application: false,
    }
}

#[test]
fn key_and_name_are_kept_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let (one, held) = Config::new(args(dir.path()), None).unwrap();
    drop(held);
    let (two, _held) = Config::new(args(dir.path()), None).unwrap();
    assert_eq!((&one.instance, &one.key), (&two.instance, &two.key));
    assert_eq!(one.instance.len(), 8);
    let mode = fs::metadata(dir.path().join("digest.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_data_directory_keeps_the_name_that_it_was_first_given() {
    let dir = tempfile::tempdir().unwrap();
    let start = |name: Option<&str>| {
        let instance = name.map(str::to_owned);
        let args = args::Controller {
            instance,
            ..args(dir.path())
        };
        Config::new(args, None).map(|(config, _)| config.instance)
    };
    assert_eq!(start(Some("one")).unwrap(), "one");
    assert_eq!(start(None).unwrap(), "one");
    assert_eq!(start(Some("one")).unwrap(), "one");
    let said = start(Some("two")).unwrap_err().to_string();
    let file = dir.path().join("instance");
    for word in ["one", "two", "--instance", file.to_str().unwrap()] {
        assert!(said.contains(word), "{word} in {said}");
    }
    // The way out.
    fs::remove_file(file).unwrap();
    assert_eq!(start(Some("two")).unwrap(), "two");
    assert_eq!(start(None).unwrap(), "two");
}

#[test]
fn two_never_share_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Config::new(args(dir.path()), None).unwrap();
    assert!(matches!(
        Config::new(args(dir.path()), None),
        Err(ConfigError::Locked(_))
    ));
    drop(first);
    Config::new(args(dir.path()), None).unwrap();
}

#[test]
fn data_directory_freed_during_start_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let held = lock(dir.path()).unwrap();
    let start = std::thread::scope(|scope| {
        let start = scope.spawn(|| Config::new(args(dir.path()), None));
        // The other start has met the lock; now the process that held it ends.
        std::thread::sleep(3 * LOCK_PAUSE);
        drop(held);
        start.join().unwrap()
    });
    start.unwrap();
}

#[test]
fn whoever_has_not_got_the_data_directory_writes_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let held = lock(dir.path()).unwrap();
    assert!(Config::new(args(dir.path()), None).is_err());
    for name in ["instance", "digest.key"] {
        assert!(!dir.path().join(name).exists(), "{name} was made");
    }
    drop(held);
    let (config, _held) = Config::new(args(dir.path()), None).unwrap();
    let kept = fs::read_to_string(dir.path().join("instance")).unwrap();
    assert_eq!(config.instance, kept);
}

#[test]
fn only_the_owner_can_read_a_data_directory_that_was_there_before() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open = |path: &Path| {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    Config::new(args(dir.path()), None).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    // A shared directory keeps its mode; the private directories in it are closed.
    let shared = tempfile::tempdir().unwrap();
    open(shared.path());
    fs::write(shared.path().join("letter"), "").unwrap();
    for name in DIRECTORIES {
        open(&shared.path().join(name));
    }
    Config::new(args(shared.path()), None).unwrap();
    assert_eq!(mode(shared.path()), 0o755);
    for name in DIRECTORIES {
        assert_eq!(mode(&shared.path().join(name)), 0o700, "{name}");
    }
}

#[test]
fn a_bad_instance_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "A", "-a", "a_b", "a-very-long-name-indeed"] {
        let args = args::Controller {
            instance: Some(name.to_owned()),
            ..args(dir.path())
        };
        assert!(
            matches!(Config::new(args, None), Err(ConfigError::Instance(_))),
            "{name}"
        );
    }
}
