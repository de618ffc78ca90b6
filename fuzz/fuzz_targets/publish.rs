//! The grammar of ports: what is printed reads back the same, and is one rule.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netns::config::publish::{Ports, Publish};
use netns::firewall::Rule;
use netns_fuzz::{check_error, check_rule};

fuzz_target!(|text: &str| {
    if let Ok(ports) = text.parse::<Ports>() {
        assert!(ports.first > 0 && ports.first <= ports.last);
        assert_eq!(ports.to_string().parse(), Ok(ports));
    }
    let publish: Publish = match text.parse() {
        Ok(publish) => publish,
        Err(error) => return check_error(&error),
    };
    assert_eq!(publish.to_string().parse::<Publish>().expect("what is printed is read"), publish);
    let host = publish.host.unwrap_or(publish.container);
    assert_eq!(host.count(), publish.container.count());
    let published = publish.at(host);
    assert!(published.conflicts(&published));
    if let Some(block) = Rule::block_of(&published) {
        check_rule(&block);
    }
    let owner = "web".to_owned();
    check_rule(&Rule::Publish { owner, published, to: "172.19.0.2".parse().expect("an address") });
});
