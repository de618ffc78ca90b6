//! The configuration file: whatever is accepted leads to rules and files that are what they
//! seem.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use netns::config::{self, file};
use netns_fuzz::{check_error, check_plan, container};

fuzz_target!(|text: &str| {
    let file = match file::parse(text, Path::new("/f")) {
        Ok(file) => file,
        Err(error) => return check_error(&error),
    };
    check_plan(&container("web"), &file.options, &file.networks);
    // No policy makes more of an annotation than it is, or falls over one.
    for (name, value) in
        [("publish", "22:22,80"), ("static-ip", "10.0.0.1"), ("mtu", "1400"), ("bridge", "b0")]
    {
        let annotations = [(format!("org.netns.{name}"), value.to_owned())].into();
        if let Err(error) = config::annotations(&annotations, &file.policy) {
            check_error(&error);
            assert!(error.to_string().contains("the policy's "), "{error}");
        }
    }
});
