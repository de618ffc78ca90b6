//! A bundle's `config.json` to the little that names need of it.
//!
//! Whoever may create containers writes it, and it may say anything: what cannot be used is
//! as if it were not said.

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::dns::HostName;
use crate::error::is_obeyed;

/// What a bundle says of its container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Its hostname, which may stand in `HOSTNAME` alone.
    pub hostname: Option<String>,
    /// What its engine calls it besides: `HOSTNAME`, nerdctl's `--name`.
    pub names: Vec<HostName>,
    /// Its root directory's path before the runtime makes it the container's `/`.
    pub root: PathBuf,
    /// What the engine mounts in it, as paths from `/` without `.` and `..`.
    mounts: Vec<PathBuf>,
    /// The `hosts` file that the engine mounts.
    pub hosts: Option<PathBuf>,
    /// Whether what is mounted in it may show outside of it too.
    pub shared: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    hostname: Option<String>,
    root: Option<Root>,
    #[serde(default)]
    mounts: Vec<Mount>,
    process: Option<Process>,
    annotations: Option<Annotations>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Process {
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "nerdctl/name")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Mount {
    destination: PathBuf,
    source: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    rootfs_propagation: Option<String>,
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Deserialize)]
struct Namespace {
    r#type: String,
}

impl Spec {
    /// `HOSTNAME`, unless the container shares that of the host.
    fn variable(&self) -> Option<&str> {
        let mut namespaces = self.linux.as_ref()?.namespaces.iter().flatten();
        namespaces.find(|namespace| namespace.r#type == "uts")?;
        let mut variables = self.process.as_ref()?.env.iter().flatten();
        variables.find_map(|variable| variable.strip_prefix("HOSTNAME="))
    }
}

impl Bundle {
    /// What the text of the `config.json` in the directory `bundle` says.
    ///
    /// # Errors
    /// It is no such file.
    pub fn parse(bundle: &Path, text: &[u8]) -> io::Result<Self> {
        let spec: Spec = serde_json::from_slice(text)?;
        let variable = spec.variable().map(str::to_owned);
        let called = spec.annotations.and_then(|annotations| annotations.name);
        let names = variable.iter().chain(&called).filter_map(|name| name.parse().ok()).collect();
        let root = spec.root.map_or_else(|| "rootfs".into(), |root| root.path);
        // It goes into logs.
        if root.to_string_lossy().contains(is_obeyed) {
            return Err(io::Error::new(ErrorKind::InvalidData, "there are control characters in root.path"));
        }
        let mounts: Vec<PathBuf> = spec.mounts.iter().map(|mount| normal(&mount.destination)).collect();
        let sources = spec.mounts.into_iter().map(|mount| mount.source);
        let mut hosts = mounts.iter().zip(sources).filter(|(to, _)| to.as_path() == Path::new("/etc/hosts"));
        let hosts = hosts.next_back().and_then(|(_, source)| source).map(|source| bundle.join(source));
        let propagation = spec.linux.and_then(|linux| linux.rootfs_propagation).unwrap_or_default();
        Ok(Self {
            hostname: spec.hostname.or(variable),
            names,
            root: bundle.join(root),
            mounts,
            hosts,
            shared: propagation.contains("shared"),
        })
    }

    /// Whether the engine mounts something at `path`, or at a directory above it.
    pub fn mounts(&self, path: &Path) -> bool {
        self.mounts.iter().any(|mount| path.starts_with(mount))
    }
}

/// `path` from `/`, without `.`, `..` and doubled slashes.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            _ => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> io::Result<Bundle> {
        Bundle::parse(Path::new("/b"), text.as_bytes())
    }

    #[test]
    fn what_names_need_is_read_and_everything_else_is_not() {
        let text = r#"{"ociVersion":"1.0.2","hostname":"web","root":{"path":"fs","readonly":true},
            "mounts":[{"destination":"/proc","type":"proc"},{"destination":"/etc//./hosts","source":"own"}],
            "linux":{"rootfsPropagation":"rslave","namespaces":[]}}"#;
        let bundle = parse(text).unwrap();
        assert_eq!((bundle.hostname.as_deref(), bundle.root.to_str()), (Some("web"), Some("/b/fs")));
        assert!(bundle.mounts(Path::new("/etc/hosts")) && !bundle.mounts(Path::new("/etc/resolv.conf")));
        assert!(!bundle.shared && bundle.hosts == Some("/b/own".into()));
        assert_eq!(parse("{}").unwrap().root, Path::new("/b/rootfs"));
        assert_eq!(parse(r#"{"root":{"path":"/abs"}}"#).unwrap().root, Path::new("/abs"));
    }

    #[test]
    fn an_engine_tells_names_beside_the_hostname_unless_that_is_the_hosts() {
        let names = |namespaces: &str| {
            let text = format!(
                r#"{{"process":{{"env":["PATH=/bin","HOSTNAME=web-1"]}},"annotations":{{"a":"b","nerdctl/name":"shop"}},
                    "linux":{{"namespaces":[{namespaces}]}}}}"#
            );
            let bundle = parse(&text).unwrap();
            (bundle.hostname, bundle.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            names(r#"{"type":"network"},{"type":"uts"}"#),
            (Some("web-1".into()), "web-1 shop".into())
        );
        assert_eq!(names(r#"{"type":"network"}"#), (None, "shop".into()));
        let silent = r#"{"process":{"env":null},"annotations":null,"linux":{"namespaces":null}}"#;
        assert_eq!(parse(silent).unwrap().hostname, None);
    }

    #[test]
    fn a_mount_is_found_however_it_is_written_and_above_too() {
        for destination in ["/etc/hosts", "etc/hosts", "/x/../etc/hosts", "/etc/hosts/", "/etc", "/../etc"] {
            let text = format!(r#"{{"mounts":[{{"destination":"{destination}"}}]}}"#);
            assert!(parse(&text).unwrap().mounts(Path::new("/etc/hosts")), "{destination}");
        }
        let text = r#"{"mounts":[{"destination":"/etc/hosts.d"},{"destination":"/et"}]}"#;
        assert!(!parse(text).unwrap().mounts(Path::new("/etc/hosts")));
    }

    #[test]
    fn what_is_no_configuration_is_an_error_and_none_is_none() {
        for text in ["", "[]", "{", r#"{"mounts":7}"#, r#"{"root":{"path":"a\u001b[2J"}}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(r#"{"linux":{"rootfsPropagation":"rshared"}}"#).unwrap().shared);
    }
}
