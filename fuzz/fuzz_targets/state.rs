//! Standard input of the hook, with its annotations: from there to the last rule.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use netns::config::policy::Policy;
use netns::config::{self, file};
use netns::hook::parse_state;
use netns::model::container::check_id;
use netns::model::port::DYNAMIC;
use netns_fuzz::{check_error, check_plan};

static STRICT: LazyLock<Policy> = LazyLock::new(|| {
    let text = include_str!("../../examples/netns-hook.toml");
    file::parse(text, Path::new("/example")).expect("the example parses").policy
});

fuzz_target!(|input: &[u8]| {
    let state = match parse_state(input) {
        Ok(state) => state,
        Err(error) => return check_error(&error),
    };
    let container = &state.container;
    assert!(check_id(&container.id).is_ok() && !container.id.contains(['/', '"', '\n']));
    assert!(container.bundle.as_os_str().is_empty() || container.bundle.is_absolute());
    assert!(state.pid.is_none_or(|pid| pid > 0));
    match config::annotations(&state.annotations, &Policy::default()) {
        Ok(options) => {
            assert!(options.state_dir.is_none() && options.log.is_none() && !options.debug);
            check_plan(container, &options, &[]);
        }
        Err(error) => check_error(&error),
    }
    match config::annotations(&state.annotations, &STRICT) {
        Ok(options) => {
            for publish in &options.publish {
                let host = publish.host.unwrap_or(DYNAMIC);
                assert!((host.first >= 8000 && host.last <= 8999) || host.first >= 49152);
                assert_eq!(publish.host_ip, "127.0.0.1".parse().ok());
            }
            assert!(options.static_ip.is_none_or(|ip| ip.to_string().starts_with("172.19.9.")));
            assert!(options.bridge.is_none() && options.ip.is_none() && options.mtu.is_none());
        }
        Err(error) => check_error(&error),
    }
});
