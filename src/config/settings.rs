//! What every run starts from: where its files are, and what the administrator has said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::file::{self, File};
use super::networks::{by_name, described, on_bridge};
use super::subnet_env;
use super::{DEFAULT_CONFIG, DEFAULT_STATE_DIR, Options, annotations, resolve};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::model::container::ContainerId;
use crate::model::network::NetworkSpec;
use crate::model::request::Request;
use crate::model::rule::Backend;
use crate::model::sandbox::NetnsRef;
use crate::model::value::Iface;

/// Where the files of this run are, and the layers of options below the annotations.
#[derive(Debug)]
pub struct Settings {
    /// The state directory.
    pub state_dir: PathBuf,
    /// Standard error, and the file that was asked for.
    pub log: Log,
    flags: Options,
    config: Option<PathBuf>,
    /// The configuration file, unless it or the log file cannot be used.
    file: Result<File>,
}

impl Settings {
    /// Puts flags (with the environment below them) and the configuration file together.
    ///
    /// A configuration or log file that cannot be used is an error only for those commands that
    /// need a configuration: a container must be able to leave although it was broken meanwhile.
    pub fn new(started: Instant, flags: Options, config: Option<PathBuf>) -> Self {
        let path = config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let file = file::read(&path, config.is_some());
        let below = file.as_ref().map(|file| file.options.clone()).unwrap_or_default();
        let Options { state_dir, log, debug, .. } = flags.clone().over(below);
        let state_dir = state_dir.unwrap_or_else(|| DEFAULT_STATE_DIR.into());
        match Log::open(started, debug.unwrap_or_default(), log.as_deref()) {
            Ok(log) => Self { state_dir, log, flags, config, file },
            Err(error) => {
                let log = Log::stderr(started, debug.unwrap_or_default());
                Self { state_dir, log, flags, config, file: file.and(Err(error)) }
            }
        }
    }

    /// What is wrong with the files, for commands that go on without them.
    pub fn mistake(&self) -> Option<&Error> {
        self.file.as_ref().err()
    }

    /// Tells of it.
    pub fn warn_of_files(&self) {
        self.mistake().into_iter().for_each(|error| self.log.warn(error));
    }

    /// What a container with these annotations is to get.
    ///
    /// # Errors
    /// The configuration file, the log file or an annotation of ours cannot be used, or
    /// the policy denies it.
    pub fn request(
        &self,
        container: ContainerId,
        netns: NetnsRef,
        annotated: &BTreeMap<String, String>,
    ) -> Result<Request> {
        let File { options, policy, networks } = self.file()?;
        let annotated = annotations(annotated, policy)?;
        let mut request =
            resolve(&annotated, &self.flags.clone().over(options.clone()), networks, container, netns)?;
        request.names.allowed = policy.aliases().cloned();
        Ok(request)
    }

    /// The network of this name, or that which flags, environment and file describe.
    ///
    /// # Errors
    /// There is none of this name; or the configuration file or the log file cannot be used.
    pub fn network(&self, name: Option<&str>) -> Result<NetworkSpec> {
        let File { options, networks, .. } = self.file()?;
        let told = self.flags.clone().over(options.clone());
        match name {
            Some(name) => by_name(name, &told, networks),
            None => described(&told, &told, networks),
        }
    }

    /// The networks that the configuration file defines; where a network's subnets are in a file of
    /// another program that cannot be used, without them.
    ///
    /// # Errors
    /// The configuration file or the log file cannot be used.
    pub fn networks(&self) -> Result<Vec<NetworkSpec>> {
        Ok(self.file()?.networks.iter().map(filled).collect())
    }

    /// The network on this bridge, as [`Self::networks`] has it; where the configuration file defines
    /// none, or cannot be used, one without subnets.
    pub fn network_on(&self, bridge: Iface) -> NetworkSpec {
        filled(&on_bridge(bridge, self.file.as_ref().map_or(&[], |file| &file.networks)))
    }

    /// The firewall of the networks whose definition names none.
    ///
    /// # Errors
    /// The configuration file or the log file cannot be used.
    pub fn firewall(&self) -> Result<Option<Backend>> {
        Ok(self.flags.firewall.or(self.file()?.options.firewall))
    }

    fn file(&self) -> Result<&File> {
        self.file.as_ref().map_err(Error::clone)
    }

    /// Why some of them cannot be used: the files of other programs in which their subnets are.
    pub fn unread_subnets(&self) -> Vec<Error> {
        let networks = self.file.iter().flat_map(|file| &file.networks);
        networks.filter_map(|network| subnet_env::fill(network.clone()).err()).collect()
    }

    /// The arguments with which a hook has the flags and environment of this run; the program's
    /// name is the first.
    pub fn hook_arguments(&self) -> Vec<String> {
        let config = self.config.iter().map(|file| format!("--config={}", file.display()));
        let name = std::iter::once("netns".to_owned());
        name.chain(config).chain(self.flags.arguments()).collect()
    }
}

/// A network as the file of another program says, if it can be used.
fn filled(network: &NetworkSpec) -> NetworkSpec {
    subnet_env::fill(network.clone()).unwrap_or_else(|_| network.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, flags: Options) -> Settings {
        let file = file::parse(text, "/f".as_ref());
        let log = Log::stderr(Instant::now(), false);
        Settings { state_dir: "/s".into(), log, flags, config: Some("/f".into()), file }
    }

    fn request(settings: &Settings, annotated: &[(&str, &str)]) -> Result<Request> {
        let container = ContainerId { id: "web".to_owned(), bundle: "/b".into() };
        let annotated = annotated.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        settings.request(container, NetnsRef::Pid(42), &annotated.collect())
    }

    #[test]
    fn annotations_go_before_flags_and_flags_before_the_file() {
        let flags = Options { mtu: "1400".parse().ok(), bridge: "flag0".parse().ok(), ..Options::default() };
        let text = "mtu = 1300\npublish = '80:80,81:81'\n[policy]\nbridges = ['a0']\nmtus = ['68-9000']\naliases = ['*.lan']";
        let settings = settings(text, flags);
        let annotated = [("org.netns.bridge", "a0"), ("org.netns.mtu", "1280"), ("other", "x")];
        let request = request(&settings, &annotated).unwrap();
        let network = &request.networks[0].network;
        assert_eq!(request.networks[0].mtu, Some(1280), "its own");
        assert_eq!((network.bridge.as_str(), network.name.as_str(), network.mtu), ("a0", "a0", Some(1400)));
        assert_eq!(request.publish.len(), 2);
        assert_eq!(request.names.allowed.map(|allowed| allowed.len()), Some(1));
        assert_eq!(settings.network(None).unwrap().bridge.as_str(), "flag0");
        assert_eq!(settings.hook_arguments(), ["netns", "--config=/f", "--bridge=flag0", "--mtu=1400"]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_for_who_needs_it() {
        let settings = settings("brigde = 'x'", Options::default());
        assert!(request(&settings, &[]).is_err() && settings.network(None).is_err());
        assert!(settings.mistake().is_some());
    }
}
