//! Precedence, bounds and messages of the options.

use super::*;

fn from(flags: &[&str], env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let command = flags_command(clap::Command::new("stria").no_binary_name(true));
    let matches = command.try_get_matches_from(flags).expect("the flags parse");
    resolve(&matches, &|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn flags_win_over_environment_and_environment_over_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("stria.toml");
    std::fs::write(&file, "region = \"file\"\ncores = 3\nsync-ms = 7\nsync = \"periodic\"\n")
        .expect("writes");
    let file = file.to_str().expect("a UTF-8 path");
    let config =
        from(&["--config", file, "--region", "flag"], &[("STRIA_CORES", "2"), ("STRIA_REGION", "env")]);
    let config = config.expect("resolves");
    assert_eq!((config.region.as_str(), config.cores), ("flag", 2));
    assert_eq!(config.sync, Sync::Periodic { ms: 7 });
}

#[test]
fn a_preset_only_fills_in_for_sync() {
    assert_eq!(from(&[], &[]).expect("resolves").sync, Sync::Always);
    assert_eq!(from(&["--preset", "performance"], &[]).expect("resolves").sync, Sync::None);
    assert_eq!(
        from(&["--preset", "performance", "--sync", "always"], &[]).expect("resolves").sync,
        Sync::Always
    );
}

#[test]
fn wrong_values_name_their_source_and_the_remedy() {
    let message =
        |flags: &[&str], env: &[(&str, &str)]| from(flags, env).expect_err("is refused").to_string();
    assert_eq!(
        message(&[], &[("STRIA_MEMORY", "1M")]),
        "memory = '1M' (from STRIA_MEMORY) is not valid: give a size from 256 MiB to 1024 TiB"
    );
    assert!(message(&["--listen", "nowhere"], &[]).contains("give host:port"));
    assert!(message(&["--pg-count", "100"], &[]).contains("power of two"));
    assert!(message(&["--sync", "often"], &[]).contains("always, threshold, periodic, none"));
    assert!(message(&["--root-access-key", "x"], &[]).contains("go together"));
}

#[test]
fn a_misspelt_key_of_the_file_names_the_nearest_option() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("stria.toml");
    std::fs::write(&file, "lisen = \"x\"\n").expect("writes");
    let error = from(&["--config", file.to_str().expect("UTF-8")], &[]).expect_err("is refused");
    assert!(error.to_string().contains("did you mean 'listen'"), "{error}");
}

#[test]
fn keys_of_the_file_may_stand_in_tables() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("stria.toml");
    let read = |text: &str| {
        std::fs::write(&file, text).expect("writes");
        from(&["--config", file.to_str().expect("UTF-8")], &[])
    };
    let config = read(
        "pg_count = 64\n[s3]\nbucket_defaults = \"classic\"\nowner_display_name = false\nregion = \"eu-west-9\"\n\
         ssec_over_http = true\n[lifecycle]\nday_seconds = 10\n",
    )
    .expect("resolves");
    assert!(!config.buckets_closed && !config.owner_display_name && config.ssec_over_http);
    assert_eq!((config.pg_count, &config.region[..], config.lifecycle_day_s), (64, "eu-west-9", 10));
    let error = read("[s3]\nregoin = \"x\"\n").expect_err("is refused");
    assert!(error.to_string().contains("'s3.regoin'") && error.to_string().contains("'region'"), "{error}");
    assert!(read("[identity]\nname = \"x\"\n").expect_err("is refused").to_string().contains("[[identity]]"));
    assert!(read("[lifecycle]\nday_seconds = 0\n").is_err());
}

#[test]
fn sizes_round_trip() {
    assert_eq!(parse_size("64M"), Some(64 << 20));
    assert_eq!(parse_size("1 GiB"), Some(1 << 30));
    assert_eq!((parse_size("x"), parse_size("1Q"), parse_size("99999999T")), (None, None, None));
    assert_eq!(print_size(1536 * 1024), "1.5 MiB");
}

#[test]
fn the_secret_is_never_printed() {
    let config = from(&["--root-access-key", "a", "--root-secret-key", "hunter2"], &[]).expect("resolves");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn times_have_units_and_bounds() {
    let config = from(&["--scrub-period", "36h"], &[("STRIA_SCRUB_LIGHT_PERIOD", "90")]).expect("resolves");
    assert_eq!((config.scrub_period_s, config.scrub_light_period_s), (36 * 3600, 90));
    let message = from(&["--scrub-period", "0s"], &[]).expect_err("is refused").to_string();
    assert!(message.ends_with("give a time from 1s to 365d, such as 12h"), "{message}");
    for (seconds, text) in [(0, "0s"), (90, "90s"), (120, "2m"), (7200, "2h"), (14 * 86_400, "14d")] {
        assert_eq!((print_duration(seconds).as_str(), parse_duration(text)), (text, Some(seconds)));
    }
    assert_eq!(
        (parse_duration("2w"), parse_duration(""), parse_duration("99999999999999999d")),
        (None, None, None)
    );
}
