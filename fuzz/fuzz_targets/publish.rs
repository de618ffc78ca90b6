//! The grammar of ports: what is printed reads back the same, and is one rule.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netns::model::port::Ports;
use netns::model::publish::Publish;
use netns::model::rule::{Backend, Family, Rule};
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
    let mapping = publish.at(host, false);
    assert!(mapping.conflicts(&mapping));
    if let Some(block) = Rule::block_of(&mapping, Family::Ipv4) {
        check_rule(&block);
    }
    let owner = "web".to_owned();
    for backend in Backend::ALL {
        let to = "172.19.0.2".parse().expect("an address");
        check_rule(&Rule::Publish { owner: owner.clone(), mapping: mapping.clone(), to, backend });
    }
});
