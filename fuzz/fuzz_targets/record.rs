//! What a disk may give back: the records of containers and networks, damaged and forged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netns::store::encode;
use netns_fuzz::{check_network, check_record};

fuzz_target!(|input: &[u8]| {
    check_record(input);
    check_network(input);
    // The same in an envelope, so that a checksum keeps nothing away.
    if let Ok(forged) = serde_json::from_slice::<serde_json::Value>(input) {
        let text = encode(&forged).expect("JSON is JSON");
        check_record(&text);
        check_network(&text);
    }
});
