//! `dialtone config show`: what the server would work with, and from where.

use std::process::Output;

use dialtone_tests::bins;
use dialtone_tests::wait::soon;
use serde_json::Value;
use tokio::process::Command;

const BY_DEFAULT: &str = "\
--roles                 api,dispatcher         default
--data-dir              data                   default
--database-url          -                      default
--database-schema       dialtone               default
--bind                  127.0.0.1              default
--api-port              8000                   default
--listen-fd             -                      default
--address-file          -                      default
--livekit-url           http://127.0.0.1:7880  default
--public-url            -                      default
LIVEKIT_API_KEY         devkey                 default (development pair)
LIVEKIT_API_SECRET      (hidden)               default (development pair)
DIALTONE_SECRET         -                      default (made by the first `serve`, in data/secret)
DIALTONE_API_KEYS_FILE  -                      default
DIALTONE_TIMELINE       1@0                    default
RUST_LOG                info                   default
LOG_FORMAT              text                   default
";

async fn ran(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(bins().join("dialtone"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    soon("the command", command.current_dir(dir.path()).output()).await.expect("run")
}

async fn shown(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = ran(&[&["config", "show"], arguments].concat(), environment).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert_eq!(error, "", "nothing beside the settings");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn every_setting_has_its_value_and_its_origin() {
    assert_eq!(shown(&[], &[]).await, BY_DEFAULT);
    let secrets = tempfile::tempdir().expect("a folder");
    let file = secrets.path().join("livekit");
    std::fs::write(&file, "hush-of-the-file\n").expect("written");
    let file = file.to_str().expect("a path");
    let secret = "canary-canary-canary-canary-canary";
    let environment = [
        ("LIVEKIT_URL", "wss://ops:hunter2@livekit.test/rtc?token=hunter2"),
        ("LIVEKIT_API_KEY", "APIkey"),
        ("LIVEKIT_API_SECRET_FILE", file),
        ("DIALTONE_SECRET", secret),
        ("RUST_LOG", "warn"),
    ];
    let text = shown(&["--api-port", "9000", "--format", "json"], &environment).await;
    for hidden in ["hunter2", "hush", secret] {
        assert!(!text.contains(hidden), "{text}");
    }
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["schema_version"], 1);
    let settings = document["settings"].as_array().expect("settings");
    let of = |name: &str| {
        let found = settings.iter().find(|setting| setting["name"] == name).expect(name);
        let text = |field: &str| found[field].as_str().unwrap_or("null").to_owned();
        (text("value"), text("origin"))
    };
    for (name, value, origin) in [
        ("--api-port", "9000", "flag"),
        ("--bind", "127.0.0.1", "default"),
        ("--livekit-url", "wss://(hidden)@livekit.test/rtc?(hidden)", "environment LIVEKIT_URL"),
        ("LIVEKIT_API_KEY", "APIkey", "environment"),
        ("LIVEKIT_API_SECRET", "(hidden)", &format!("file {file}")),
        ("DIALTONE_SECRET", "(hidden)", "environment"),
        ("RUST_LOG", "warn", "environment"),
    ] {
        assert_eq!(of(name), (value.to_owned(), origin.to_owned()), "{name}");
    }
    let lines = BY_DEFAULT.lines().count();
    assert_eq!(settings.len(), lines, "both forms have every setting");
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_named_and_not_repeated() {
    for (name, value) in [
        ("DIALTONE_SECRET", "hunter2"),
        ("DATABASE_URL", "mysql://u:hunter2@db.test/x"),
        ("DIALTONE_API_KEYS_FILE", "/nowhere/keys"),
        ("LIVEKIT_API_SECRET", "hunter2"),
        ("LIVEKIT_URL", "wss://livekit.test"),
        ("DIALTONE_TIMELINE", "fast"),
    ] {
        let output = ran(&["config", "show"], &[(name, value)]).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name}");
        assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
        assert!(output.stdout.is_empty(), "{name}: half a configuration");
        // The server says the same of it.
        let output = ran(&["serve", "--api-port", "0"], &[(name, value)]).await;
        assert_eq!(String::from_utf8_lossy(&output.stderr), error, "{name}");
    }
    let output = ran(&["config", "show", "--api-port", "x"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--api-port"));
    let url = "wss://ops:hunter2@livekit.test";
    for arguments in [["serve", "--help"], ["config", "--help"]] {
        let help = ran(&arguments, &[("LIVEKIT_URL", url)]).await;
        assert!(!String::from_utf8_lossy(&help.stdout).contains("hunter2"));
    }
}
