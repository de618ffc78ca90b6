//! Flags, environment, file and annotations to one [`Request`]: every default and every check, once.
//!
//! Pure but for [`file::read`], the machine's id, `subnet_env` and [`Settings::new`]. The form of each value is in the model (`value`,
//! `port`, `host_device`, `dns`).
//!
//! | file | what is in it |
//! |---|---|
//! | `options` | every option, declared once |
//! | `setting` | what an option of each kind is as text |
//! | `flags` | the hook's arguments and environment |
//! | `file` | the configuration file |
//! | `definition` | the networks that it defines |
//! | `networks` | which of them a container is attached to |
//! | `policy` | what annotations may ask for |
//! | `settings` | the layers of one run |
//! | `subnet_env` | the file by which another program chooses a network's subnets |

mod definition;
pub mod file;
pub mod flags;
mod networks;
mod options;
pub mod policy;
mod setting;
mod settings;
mod subnet_env;

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::model::container::ContainerId;
use crate::model::dns::Names;
use crate::model::network::NetworkSpec;
use crate::model::request::Request;
use crate::model::sandbox::NetnsRef;
pub(crate) use definition::free_ipv4;
pub use options::Options;
use options::{Annotation, find, unknown};
use policy::Policy;
pub use settings::Settings;

/// Where the state lives unless told otherwise: a tmpfs, so that leases die with the kernel
/// state that they describe. (`/run/netns` belongs to iproute2.)
pub const DEFAULT_STATE_DIR: &str = "/run/netns-hook";
/// The optional configuration file.
pub const DEFAULT_CONFIG: &str = "/etc/netns-hook.toml";
const DEFAULT_IPFILE: &str = ".ip";
/// What an annotation of ours begins with.
pub const ANNOTATION_PREFIX: &str = "org.netns.";

/// What a container is to get: of its own options, `annotated`, and of the administrator's below
/// them, `told`, the first that has an answer wins.
///
/// # Errors
/// Those of the networks that are asked for.
pub fn resolve(
    annotated: &Options,
    told: &Options,
    defined: &[NetworkSpec],
    container: ContainerId,
    netns: NetnsRef,
) -> Result<Request> {
    let networks = networks::of_container(annotated, told, defined, &container)?;
    let options = annotated.clone().over(told.clone());
    Ok(Request {
        container,
        netns,
        networks,
        devices: options.nic,
        publish: options.publish.into_iter().flat_map(|list| list.0).collect(),
        ipfile: options.ipfile.unwrap_or_else(|| DEFAULT_IPFILE.to_owned()).into(),
        names: Names {
            servers: options.dns,
            search: options.dns_search,
            options: options.dns_option,
            aliases: options.alias,
            hosts: options.add_host,
            covers: options.names.unwrap_or_default(),
            hands_off: options.no_dns.unwrap_or_default(),
            allowed: None,
        },
        name_netns: options.name_netns.unwrap_or_default(),
        labels: BTreeMap::new(),
    })
}

/// The annotations of ours as a layer of options, within the policy.
///
/// # Errors
/// An unknown `org.netns.` key (with the nearest known one), a value that does not parse or
/// that `policy` denies, or a key that only the administrator may set: whoever may annotate a
/// container decides what the container gets, not where the hook keeps its files.
pub fn annotations(annotations: &BTreeMap<String, String>, policy: &Policy) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in annotations {
        if let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) {
            annotate(&mut options, name, value, policy)?;
        }
    }
    Ok(options)
}

fn annotate(options: &mut Options, name: &str, value: &str, policy: &Policy) -> Result<()> {
    let operation = format!("use annotation {ANNOTATION_PREFIX}{name}={value}");
    let denied = |cause: &str| Error::new(&operation, cause).of(Kind::Denied);
    let field = match find(name) {
        Ok(field) if field.annotation != Annotation::Never => field,
        Err(nearest) if name != "config" => {
            let nearest = nearest.map(|name| format!("{ANNOTATION_PREFIX}{name}"));
            return Err(unknown(&operation, "option", nearest));
        }
        _ => return Err(denied("only a flag, the environment or the file may set it")),
    };
    (field.set)(options, value).map_err(|cause| Error::new(&operation, cause).of(Kind::Input))?;
    let escapes = value.starts_with('/') || value.split('/').any(|part| part == "..");
    if name == "ipfile" && escapes {
        return Err(denied("an annotation may only name a file in the bundle"));
    }
    policy.check(field, options).map_err(|cause| denied(&cause))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::request::NetworkRequest;

    fn from(pairs: &[(&str, &str)]) -> Result<Options> {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        annotations(&map.collect(), &Policy::default())
    }

    fn request(annotated: Options, told: Options) -> Request {
        let container = ContainerId { id: "web".to_owned(), bundle: "/b".into() };
        resolve(&annotated, &told, &[], container, NetnsRef::Pid(42)).unwrap()
    }

    #[test]
    fn every_default_is_the_documented_one() {
        let request = request(Options::default(), Options::default());
        let [NetworkRequest { network, interface, .. }] = &request.networks[..] else { panic!() };
        assert_eq!(request.networks[0], NetworkRequest::new(network.clone(), interface.clone()));
        assert_eq!((network.name.as_str(), network.bridge.as_str()), ("netns0", "netns0"));
        assert_eq!((network.subnets.len(), network.subnets[0].to_string()), (1, "172.19.0.1/16".to_owned()));
        assert_eq!((interface.as_str(), network.mtu), ("eth0", None));
        assert_eq!(request.ipfile, PathBuf::from(".ip"));
        assert_eq!((request.names, request.name_netns), (Names::default(), false));
        let nothing = Options::default();
        assert_eq!(networks::described(&nothing, &nothing, &[]).unwrap(), *network);
    }

    #[test]
    fn without_a_bridge_there_is_no_network_and_devices_stay() {
        let nic = vec!["ens6f0".parse().unwrap()];
        let asked = Options { no_bridge: Some(true), nic, ..Options::default() };
        let overridden = Options { no_bridge: Some(false), ..Options::default() };
        let alone = request(Options::default(), asked.clone());
        assert_eq!((alone.networks.len(), alone.devices.len()), (0, 1));
        assert_eq!(request(overridden, asked).networks.len(), 1);
    }

    #[test]
    fn an_unknown_annotation_suggests_the_nearest() {
        let error = from(&[("org.netns.publsh", "80")]).unwrap_err();
        let expected =
            "use annotation org.netns.publsh=80: unknown option\n  hint: did you mean org.netns.publish?";
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, Kind::Input));
    }

    #[test]
    fn an_annotation_cannot_choose_where_root_writes() {
        for (key, value) in [
            ("org.netns.state-dir", "/etc"),
            ("org.netns.log", "/etc/passwd"),
            ("org.netns.config", "/x"),
            ("org.netns.ipfile", "/etc/passwd"),
            ("org.netns.ipfile", "a/../../b"),
        ] {
            assert_eq!(from(&[(key, value)]).unwrap_err().kind(), Kind::Denied, "{key}={value}");
        }
        assert_eq!(from(&[("org.netns.ipfile", "a\nnetns: all is well")]).unwrap_err().kind(), Kind::Input);
        assert!(from(&[("org.netns.ipfile", "net/ip")]).is_ok());
    }

    #[test]
    fn one_container_cannot_ask_for_so_many_ports_that_others_wait() {
        let many = |n: u16| (1..=n).map(|port| format!("{port}:{port}")).collect::<Vec<_>>().join(",");
        assert!(from(&[("org.netns.publish", &many(1024))]).is_ok());
        let error = from(&[("org.netns.publish", &many(1025))]).unwrap_err().to_string();
        assert!(error.ends_with(": more than 1024 ports or ranges"), "{error}");
    }

    #[test]
    fn a_bad_value_names_the_annotation() {
        let error = from(&[("org.netns.mtu", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("use annotation org.netns.mtu=many: mtu 'many': it must be "), "{error}");
    }
}
