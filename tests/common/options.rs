//! What a container asks for, and how it is told: by annotations, or by flags.

use std::fs;
use std::path::Path;

use super::NETNS;

/// What annotations may not set until a policy lets them, since it reaches the host or other
/// networks. Only tests of that give them as annotations; all others pass them as flags, which
/// no policy bounds.
const BY_POLICY: [&str; 7] = ["bridge", "ip", "iface", "mtu", "nic", "no-bridge", "name-netns"];

/// What a container asks for: the names of options, and their values.
pub type Options<'a> = [(&'a str, &'a str)];

/// The flags among these options.
pub fn flags(options: &Options) -> Vec<String> {
    let by_policy = options.iter().filter(|(key, _)| BY_POLICY.contains(key));
    by_policy.map(|(key, value)| format!("--{key}={value}")).collect()
}

/// The annotations among these options.
pub fn annotations<'a>(options: &Options<'a>) -> Vec<(&'a str, &'a str)> {
    options.iter().filter(|(key, _)| !BY_POLICY.contains(key)).copied().collect()
}

/// Has a `config.json` ask for these options: by its annotations, and by the arguments of our
/// hooks.
pub fn ask_for(config: &mut serde_json::Value, options: &Options) {
    for (key, value) in annotations(options) {
        config["annotations"][format!("org.netns.{key}")] = value.into();
    }
    let flags = flags(options);
    let stages = config["hooks"].as_object_mut().into_iter().flat_map(|stages| stages.values_mut());
    for hook in stages.flat_map(|hooks| hooks.as_array_mut().expect("a list of hooks")) {
        if hook["path"] == NETNS && !flags.is_empty() {
            hook["args"] = std::iter::once("netns".to_owned()).chain(flags.iter().cloned()).collect();
        }
    }
}

/// As [`ask_for`], in a bundle.
pub fn ask_for_in(bundle: &Path, options: &Options) {
    change(bundle, |config| ask_for(config, options));
}

/// Changes a bundle's `config.json`.
pub fn change(bundle: &Path, what: impl FnOnce(&mut serde_json::Value)) {
    let path = bundle.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path).expect("read config.json")).expect("JSON");
    what(&mut config);
    fs::write(&path, config.to_string()).expect("write config.json");
}

/// The OCI state document of a container whose bundle is `/run/test`.
pub fn state(id: &str, status: &str, pid: Option<u32>, annotations: &[(&str, &str)]) -> String {
    let mut state = serde_json::json!({
        "ociVersion": "1.0.2", "id": id, "status": status, "bundle": "/run/test",
    });
    if let Some(pid) = pid {
        state["pid"] = pid.into();
    }
    for (key, value) in annotations {
        state["annotations"][format!("org.netns.{key}")] = (*value).into();
    }
    state.to_string()
}
