//! Where each engine looks for hooks, and whether it would use what is put there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipnetwork::IpNetwork;
use serde_json::{Value, json};
use toml::Table;

use super::{Engine, Installation, Link, own_file};
use crate::error::{Doing, Error, Result};
use crate::install::edit::Edit;
use crate::model::network::NetworkSpec;
use crate::model::value;

/// Where podman and CRI-O look unless their configuration names other directories.
const HOOKS_D: &str = "/usr/share/containers/oci/hooks.d";
/// Where the NRI plugin looks too.
const HOOKS_D_ETC: &str = "/etc/containers/oci/hooks.d";
const CONTAINERD: &str = "/etc/containerd/config.toml";
/// The CRI plugin, as version 2 of the configuration calls it.
const CRI: &str = "io.containerd.grpc.v1.cri";
const BASE_SPEC: &str = "/etc/containerd/netns-base.json";
const DOCKER: &str = "/etc/docker/daemon.json";
const WRAPPER: &str = "/usr/local/libexec/netns-runc";

/// Where CNI clients look for plugins, and for networks.
const CNI_BIN: &str = "/opt/cni/bin";
const CNI_NETWORK: &str = "/etc/cni/net.d/10-netns.conflist";

pub(super) fn installation(engine: Engine, hook: &Value, network: &NetworkSpec) -> Result<Installation> {
    match engine {
        Engine::Podman => {
            let files = ["/usr/share/containers/containers.conf", "/etc/containers/containers.conf"];
            let mut new =
                definition(&hooks_dir(&files, "/etc/containers/containers.conf.d", "engine")?, hook)?;
            new.left.extend(missing("podman"));
            new.left.push(
                "podman run --network none --annotation org.netns.publish=8080:80 …; \
                 the annotation is what calls the hook"
                    .to_owned(),
            );
            Ok(new)
        }
        Engine::Crio => {
            let files = ["/etc/crio/crio.conf"];
            let mut new = definition(&hooks_dir(&files, "/etc/crio/crio.conf.d", "crio.runtime")?, hook)?;
            new.left.extend(missing("crio"));
            new.left.push("systemctl restart crio; annotate pods with org.netns.…".to_owned());
            Ok(new)
        }
        Engine::Nri => nri(hook),
        Engine::Containerd => containerd(hook),
        Engine::Docker => docker(hook),
        Engine::Cni => cni(hook, network),
    }
}

/// A file of a hook directory. A path in it that does not exist would be ignored silently.
fn definition(directory: &Path, hook: &Value) -> Result<Installation> {
    let mut hook = hook.clone();
    hook["timeout"] = 60.into();
    let text = json!({
        "version": "1.0.0",
        "hook": hook,
        "when": {"annotations": {"^org\\.netns\\.": ".*"}},
        "stages": ["createRuntime", "poststop"],
    });
    let text = serde_json::to_string_pretty(&text).doing(|| "write JSON")?;
    let edit = own_file(&directory.join("netns.json"), &format!("{text}\n"))?;
    Ok(Installation { edits: vec![edit], ..Installation::default() })
}

/// The directory that the engine looks into last, whose definitions win.
fn hooks_dir(files: &[&str], drop_ins: &str, table: &str) -> Result<PathBuf> {
    let mut files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    if let Ok(entries) = fs::read_dir(drop_ins) {
        let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort_unstable();
        files.extend(more);
    }
    let mut found = HOOKS_D.to_owned();
    for file in files.iter().filter(|file| file.exists()) {
        let mut at = Some(toml::Value::Table(read_toml(file)?));
        for key in table.split('.').chain(["hooks_dir"]) {
            at = at.and_then(|value| value.get(key).cloned());
        }
        let last = at.as_ref().and_then(toml::Value::as_array).and_then(|list| list.last());
        if let Some(last) = last.and_then(toml::Value::as_str) {
            found = last.to_owned();
        }
    }
    Ok(found.into())
}

fn nri(hook: &Value) -> Result<Installation> {
    let mut new = definition(Path::new(HOOKS_D_ETC), hook)?;
    let text = fs::read_to_string(CONTAINERD).unwrap_or_default();
    if !text.contains("io.containerd.nri.v1.nri") {
        new.left.push(format!(
            "containerd 1.7 has NRI off: [plugins.\"io.containerd.nri.v1.nri\"] disable = false in {CONTAINERD}"
        ));
    }
    let plugins = fs::read_dir("/opt/nri/plugins").into_iter().flatten().flatten();
    if !plugins.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("hook-injector")) {
        new.left.push("the plugin hook-injector is not in /opt/nri/plugins".to_owned());
    }
    new.left.push("systemctl restart containerd; annotate pods with org.netns.…".to_owned());
    Ok(new)
}

fn containerd(hook: &Value) -> Result<Installation> {
    let mut config = Edit::open(Path::new(CONTAINERD), "version = 2\n")?;
    let table = parse_toml(config.text(), config.file())?;
    let plugin = match table.get("version").and_then(toml::Value::as_integer) {
        Some(2) => CRI,
        Some(3) => "io.containerd.cri.v1.runtime",
        _ => {
            return Err(Error::new(format!("use {CONTAINERD}"), "it is of version 1")
                .hint("`containerd config default` prints one of a later version"));
        }
    };
    let line = if config.text().is_empty() || config.text().ends_with('\n') { "" } else { "\n" };
    let class = include_str!("../../hooks/containerd.toml").replace(CRI, plugin);
    config.append(&format!("{line}{class}"));
    // A runtime of that name that is there already makes it a duplicate key.
    parse_toml(config.text(), config.file())?;
    let spec = Command::new("ctr").args(["oci", "spec"]).output().doing(|| "run ctr oci spec")?;
    let spec = String::from_utf8_lossy(&spec.stdout).into_owned();
    let mut base: Value = serde_json::from_str(&spec).doing(|| "read the output of ctr oci spec")?;
    base["hooks"] = json!({"createRuntime": [hook], "poststop": [hook]});
    let base = serde_json::to_string_pretty(&base).doing(|| "write JSON")?;
    let mut left: Vec<String> = missing("containerd").into_iter().collect();
    let disabled = table.get("disabled_plugins").and_then(toml::Value::as_array);
    if disabled.is_some_and(|all| all.iter().filter_map(toml::Value::as_str).any(|it| it.ends_with("cri"))) {
        left.push(format!("{CONTAINERD} disables the CRI plugin, which alone has runtime classes"));
    }
    left.push("systemctl restart containerd; use the runtime class (handler) netns".to_owned());
    left.push("ctr and nerdctl have no runtime classes: see hooks/README.md".to_owned());
    let spec = own_file(Path::new(BASE_SPEC), &format!("{base}\n"))?;
    Ok(Installation { edits: vec![config, spec], left, ..Installation::default() })
}

fn docker(hook: &Value) -> Result<Installation> {
    let mut config = Edit::open(Path::new(DOCKER), "{}\n")?;
    let place = ["runtimes", "netns"];
    if let Some(other) = config.get::<Value>(&place)? {
        return Err(Error::new(format!("use {DOCKER}"), format!("it has a runtime netns already: {other}")));
    }
    config.set(&place, &json!({"path": WRAPPER}).to_string())?;
    let program = hook["path"].as_str().unwrap_or_default();
    let options = hook["args"].as_array().into_iter().flatten().skip(1).filter_map(Value::as_str);
    let quoted: String = options.map(|option| format!(" '{}'", option.replace('\'', r"'\''"))).collect();
    let wrapper = include_str!("../../hooks/docker-wrapper")
        .replace("/usr/local/bin/netns inject", &format!("'{program}' inject{quoted}"));
    let wrapper = own_file(Path::new(WRAPPER), &wrapper)?;
    let mut left: Vec<String> = missing("dockerd").into_iter().collect();
    left.push("systemctl reload docker".to_owned());
    left.push("docker run --runtime netns --network none -e NETNS_PUBLISH=8080:80 …".to_owned());
    let program = Some(WRAPPER.into());
    Ok(Installation { edits: vec![config, wrapper], program, left, ..Installation::default() })
}

/// The network that flags, environment and file describe, for clients of every version: old ones
/// go by `cniVersion`, those since 1.1.0 by `cniVersions`.
fn cni(hook: &Value, network: &NetworkSpec) -> Result<Installation> {
    let ranges: Vec<Value> = network
        .subnets
        .iter()
        .map(|it| json!([{"subnet": value::subnet(*it), "gateway": it.ip()}]))
        .collect();
    let anywhere = |it: &IpNetwork| json!({"dst": if it.is_ipv4() { "0.0.0.0/0" } else { "::/0" }});
    let routes: Vec<Value> = network.subnets.iter().map(anywhere).collect();
    let capabilities = ["portMappings", "bandwidth", "ips", "mac", "ipRanges", "aliases", "dns"];
    let capabilities: Table = capabilities.map(|name| (name.to_owned(), true.into())).into_iter().collect();
    let list = json!({
        "cniVersion": "0.4.0",
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "name": "netns",
        "plugins": [{
            "type": "netns",
            "bridge": network.bridge,
            "isGateway": true,
            "ipMasq": true,
            "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
            "capabilities": capabilities,
        }],
    });
    let list = serde_json::to_string_pretty(&list).doing(|| "write JSON")?;
    let link = |name| Link {
        file: Path::new(CNI_BIN).join(name),
        to: hook["path"].as_str().unwrap_or_default().into(),
    };
    let (own, loopback) = (link("netns"), link("loopback"));
    if own.file.exists() && !own.is_there() {
        let operation = format!("write {}", own.file.display());
        return Err(Error::new(operation, "it exists, and is not ours").hint("move it away"));
    }
    // Runtimes ask for it besides, and it may come from the reference plugins.
    let loopback = Some(loopback).filter(|loopback| !loopback.file.exists() || loopback.is_there());
    let left = vec!["restart what uses CNI, unless it looks at /etc/cni/net.d by itself".to_owned()];
    let edits = vec![own_file(Path::new(CNI_NETWORK), &format!("{list}\n"))?];
    let links = [Some(own), loopback].into_iter().flatten().collect();
    Ok(Installation { edits, links, left, ..Installation::default() })
}

fn read_toml(file: &Path) -> Result<Table> {
    parse_toml(&fs::read_to_string(file).doing(|| format!("read {}", file.display()))?, file)
}

fn parse_toml(text: &str, file: &Path) -> Result<Table> {
    let parsed = text.parse().map_err(|error: toml::de::Error| error.message().to_owned());
    parsed.doing(|| format!("read {}", file.display()))
}

/// Says so where a program is not installed.
fn missing(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let found = there.into_iter().any(|directory| directory.join(program).is_file());
    (!found).then(|| format!("{program} is not installed"))
}
