//! The hook put into a bundle and taken out again, with everything else as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;
use serde_json::Value;

use crate::common::{NETNS, World, run, stderr};

/// A bundle with this `config.json`, in a directory of its own.
fn bundle(name: &str, config: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("netns-inject-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).expect("create bundle");
    fs::write(dir.join("config.json"), config).expect("write config.json");
    dir
}

fn inject(bundle: &Path, options: &[&str]) -> Output {
    let output = run(Command::new(NETNS).arg("inject").args(options).arg(bundle), "");
    assert!(output.stdout.is_empty());
    output
}

fn inject_ok(bundle: &Path, options: &[&str]) -> Value {
    let output = inject(bundle, options);
    assert!(output.status.success(), "inject {options:?}: {}", stderr(&output));
    serde_json::from_str(&text(bundle)).expect("config.json is JSON")
}

fn text(bundle: &Path) -> String {
    fs::read_to_string(bundle.join("config.json")).expect("read config.json")
}

const ODD: &str = "{\n\t\"ociVersion\": \"1.0.2\",\n\t\"z\": 1.50, \"zz\": 18446744073709551616, \"n\": -0,\n\
    \t\"process\": {\"capabilities\": {\"bounding\": [\"CAP_KILL\"], \"effective\": null}},\n\
    \t\"\\u0061\": \"\\u00e9 ü }\", \"hooks\": {\"createRuntime\": [\n\t\t{\"path\": \"/bin/true\"}\n\t]}\n}\n";

#[test]
fn everything_else_in_the_file_stays_as_it_was_and_undo_gives_it_back() {
    let bundle = bundle("odd", ODD);
    let config = inject_ok(&bundle, &["--net-raw", "--publish", "8080:80"]);
    let hooks = &config["hooks"]["createRuntime"];
    assert_eq!(hooks[0]["path"], NETNS);
    assert_eq!(hooks[0]["args"], serde_json::json!(["netns", "--publish=8080:80/tcp"]));
    assert_eq!(hooks[1]["path"], "/bin/true");
    assert_eq!(config["hooks"]["poststop"][0], hooks[0]);
    let caps = &config["process"]["capabilities"];
    assert_eq!(caps["bounding"], serde_json::json!(["CAP_NET_RAW", "CAP_KILL"]));
    assert_eq!(caps["effective"], serde_json::json!(["CAP_NET_RAW"]));
    let injected = text(&bundle);
    for kept in ["\"z\": 1.50, \"zz\": 18446744073709551616, \"n\": -0,", "\"\\u0061\": \"\\u00e9 ü }\""] {
        assert!(injected.contains(kept), "{injected}");
    }
    inject_ok(&bundle, &["--undo"]);
    assert_eq!(text(&bundle), ODD);
    let files: Vec<_> = fs::read_dir(&bundle).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["config.json"]);
    inject_ok(&bundle, &["--undo"]);
    assert_eq!(text(&bundle), ODD);
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn a_second_injection_changes_nothing_and_one_with_other_options_is_refused() {
    let bundle = bundle("twice", ODD);
    inject_ok(&bundle, &["--mtu", "1400"]);
    let once = text(&bundle);
    inject_ok(&bundle, &["--mtu", "1400"]);
    assert_eq!(text(&bundle), once);
    let refused = inject(&bundle, &["--mtu", "1300"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--undo"), "{}", stderr(&refused));
    assert_eq!(text(&bundle), once);
    // What comes later is taken out together with what came first.
    inject_ok(&bundle, &["--mtu", "1400", "--net-raw"]);
    assert_ne!(text(&bundle), once);
    inject_ok(&bundle, &["--undo"]);
    assert_eq!(text(&bundle), ODD);
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn a_hook_put_there_by_hand_is_found_and_left_alone() {
    let by_hand = r#"{"hooks":{"prestart":[{"path":"/opt/netns"}],"poststop":[{"path":"/opt/netns"}]}}"#;
    let bundle = bundle("by-hand", by_hand);
    inject_ok(&bundle, &[]);
    inject_ok(&bundle, &["--undo"]);
    assert_eq!(text(&bundle), by_hand);
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn an_edit_made_after_the_injection_survives_the_undo() {
    let bundle = bundle("edited", "{\"a\": 1}");
    inject_ok(&bundle, &[]);
    fs::write(bundle.join("config.json"), text(&bundle).replace("\"a\": 1", "\"a\": 1000")).unwrap();
    inject_ok(&bundle, &["--undo"]);
    assert_eq!(text(&bundle), "{\"a\": 1000}");
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn the_containers_own_environment_becomes_annotations() {
    let config = r#"{"process":{"env":["PATH=/bin","NETNS_PUBLISH=8080:80","NETNS_STATIC_IP=172.19.0.9"]}}"#;
    let bundle = bundle("env", config);
    let annotations = inject_ok(&bundle, &["--from-env"])["annotations"].clone();
    assert_eq!(annotations["org.netns.publish"], "8080:80");
    assert_eq!(annotations["org.netns.static-ip"], "172.19.0.9");
    assert_eq!(annotations.as_object().unwrap().len(), 2);
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn what_is_no_bundle_is_refused_and_left_as_it_was() {
    for config in ["", "[]", "{\"hooks\": []}", "{\"hooks\": {\"createRuntime\": {}}}", "{\"a\": "] {
        let bundle = bundle("refused", config);
        let refused = inject(&bundle, &[]);
        assert_eq!(refused.status.code(), Some(1), "{config}");
        assert!(stderr(&refused).contains("config.json"), "{}", stderr(&refused));
        assert_eq!(text(&bundle), config);
        fs::remove_dir_all(bundle).unwrap();
    }
    let missing = inject(Path::new("/nonexistent/bundle"), &[]);
    assert!(stderr(&missing).contains("No such file"), "{}", stderr(&missing));
}

#[test]
fn the_file_keeps_its_mode_and_a_link_to_it_stays_a_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let bundle = bundle("link", "{}");
    fs::rename(bundle.join("config.json"), bundle.join("real.json")).unwrap();
    fs::set_permissions(bundle.join("real.json"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.json", bundle.join("config.json")).unwrap();
    inject_ok(&bundle, &[]);
    assert!(fs::symlink_metadata(bundle.join("config.json")).unwrap().is_symlink());
    let mode = fs::metadata(bundle.join("real.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(text(&bundle).contains("createRuntime"));
    fs::remove_dir_all(bundle).unwrap();
}

/// The bundle may be somebody else's, and everything in it.
#[test]
fn no_link_and_no_receipt_in_a_bundle_leads_to_another_file() {
    let bundle = bundle("hostile", "{}");
    let (config, receipt) = (bundle.join("config.json"), bundle.join("config.json.netns-undo"));
    let other = bundle.with_extension("precious");
    let crafted = |file: &Path| {
        let put = serde_json::json!([{ "at": 0, "text": "{\"root\"", "was": "{\"evil\"" }]);
        fs::write(&receipt, serde_json::json!({ "file": file, "created": false, "put": put }).to_string())
            .unwrap();
    };
    let refused = |options: &[&str], what: &str, cause: &str| {
        let output = inject(&bundle, options);
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(stderr(&output).contains(cause), "{what}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&other).unwrap(), "{\"root\": 0}", "{what}");
    };
    fs::write(&other, "{\"root\": 0}").unwrap();
    crafted(&other);
    refused(&["--undo"], "a receipt of another file", "its receipt names another file");
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(&other, &config).unwrap();
    for file in [&config, &other] {
        crafted(file);
        refused(&["--undo"], "a link to another file", "it is a link to");
    }
    fs::remove_file(&receipt).unwrap();
    refused(&[], "a link to another file", "it is a link to");
    assert!(!receipt.exists());

    // What is written beside it follows no link either.
    fs::remove_file(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    std::os::unix::fs::symlink(&other, bundle.join("config.json.netns-unfinished")).unwrap();
    std::os::unix::fs::symlink("../nowhere", bundle.join("config.json.netns-undo.netns-unfinished")).unwrap();
    inject_ok(&bundle, &[]);
    inject_ok(&bundle, &["--undo"]);
    assert_eq!(
        (text(&bundle).as_str(), fs::read_to_string(&other).unwrap().as_str()),
        ("{}", "{\"root\": 0}")
    );
    fs::remove_file(other).unwrap();
    fs::remove_dir_all(bundle).unwrap();
}

#[test]
fn a_bundle_as_runc_writes_it_runs_with_its_network() {
    let Some(mut world) = World::new() else { return };
    let bundle = world.bundle("web", &[], "");
    world.sh(&format!("cd {} && rm config.json && runc spec", bundle.display()));
    let sleep = text(&bundle).replace("\"sh\"", "\"busybox\", \"sleep\", \"1000\"");
    let sleep = sleep.replace("\"terminal\": true", "\"terminal\": false");
    let quiet = sleep.replace("\"type\": \"RLIMIT_NOFILE\"", "\"type\": \"RLIMIT_CORE\"");
    let quiet = quiet.replace("\"hard\": 1024", "\"hard\": 0").replace("\"soft\": 1024", "\"soft\": 0");
    fs::write(bundle.join("config.json"), &quiet).unwrap();
    world.netns_ok(&["inject", "--net-raw", "-p", "8080:80", bundle.to_str().unwrap()], "");
    world.runc_start("web", &bundle);
    let ping = world.runc(&["exec", "web", "busybox", "ping", "-c", "1", "-W", "1", "172.19.0.1"]);
    assert!(ping.status.success(), "ping: {}", stderr(&ping));
    assert_eq!(world.ls()[0]["published"][0]["host_port"], 8080);
    world.runc_delete("web");
    world.netns_ok(&["inject", "--undo", bundle.to_str().unwrap()], "");
    assert_eq!(text(&bundle), quiet);
}

/// JSON values of a few levels, with the keys that matter here among others.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof!["[ -~]{0,6}", Just("hooks".to_owned()), Just("poststop".to_owned())];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_is_injected_and_given_back_or_left_alone(value in json(), pretty: bool) {
        let before = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let before = before.unwrap();
        let bundle = bundle("any", &before);
        if inject(&bundle, &["--net-raw"]).status.success() {
            let after: Value = serde_json::from_str(&text(&bundle)).unwrap();
            prop_assert_eq!(&after["hooks"]["poststop"][0]["path"], NETNS);
            inject_ok(&bundle, &["--undo"]);
        }
        prop_assert_eq!(text(&bundle), before);
        fs::remove_dir_all(bundle).unwrap();
    }
}
