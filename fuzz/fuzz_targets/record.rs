//! What a disk may give back: records, and the journal with torn and forged frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netns::store::journal::{self, replay};
use netns::store::record::{Network, Record};

fuzz_target!(|input: &[u8]| {
    if let Ok(record) = serde_json::from_slice::<Record>(input) {
        let again = serde_json::to_vec(&record).expect("a record is JSON");
        assert_eq!(serde_json::from_slice::<Record>(&again).expect("and reads back"), record);
        assert_replayed(&[(&record).into()]);
        record.steps.iter().for_each(|step| drop(step.to_string()));
    }
    if let Ok(network) = serde_json::from_slice::<Network>(input) {
        let again = serde_json::to_vec(&network).expect("a record is JSON");
        assert_eq!(serde_json::from_slice::<Network>(&again).expect("and reads back"), network);
    }
    if let Some(read) = replay(input) {
        assert!(read.whole <= input.len());
        assert_replayed(&read.entries);
    }
    // The same bytes as the payloads of whole frames, so that a checksum keeps nothing away.
    let mut forged = journal::of(&[]).expect("an empty journal");
    for payload in input.split(|byte| *byte == 0xff) {
        forged.extend(journal::frame(payload).expect("a short frame"));
    }
    let read = replay(&forged).expect("this version");
    assert_eq!(replay(&forged[..read.whole]).expect("this version"), read);
    assert_replayed(&read.entries);
});

fn assert_replayed(entries: &[netns::store::index::Entry]) {
    let journal = journal::of(entries).expect("entries are small");
    let read = replay(&journal).expect("this version");
    assert_eq!((read.entries.as_slice(), read.events, read.whole), (entries, entries.len(), journal.len()));
}
