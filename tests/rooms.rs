//! Who may use whom: the table in `src/lib.rs`, held against every path in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms each room may use.
type Rooms = BTreeMap<String, BTreeSet<String>>;

/// The source files, by their paths below `src`, and what is in them.
pub fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).expect("read a directory of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("read a source file");
                found.push((path.strip_prefix(&root).expect("below src").to_owned(), text));
            }
        }
    }
    assert!(found.len() > 50, "{}", root.display());
    found.sort();
    found
}

/// The room that a source file is in: the first part of its path.
fn room(file: &Path) -> String {
    let first = file.iter().next().expect("a name");
    Path::new(first).with_extension("").display().to_string()
}

/// The table: a row is `| [`room`] | what is in it | may use |`.
fn table() -> Rooms {
    let text = sources().into_iter().find(|(file, _)| file == Path::new("lib.rs")).expect("lib.rs").1;
    let row = |line: &str| {
        let (room, cells) = line.strip_prefix("//! | [`")?.split_once("`]")?;
        let uses = cells.split('|').nth(2).expect("three cells").split_whitespace();
        Some((room.to_owned(), uses.map(str::to_owned).collect()))
    };
    text.lines().filter_map(row).collect()
}

/// The code of a file: without comments and what is only compiled for its tests.
fn code(text: &str) -> Vec<&str> {
    let mut code = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if start == "#[cfg(test)]" {
            let end = format!("{}}}", &line[..line.len() - start.len()]);
            let item = lines.next().expect("what is compiled for tests");
            if item.ends_with('{') {
                lines.by_ref().take_while(|line| *line != end).for_each(drop);
            }
        } else if !start.starts_with("//") {
            code.push(line.split(" // ").next().unwrap_or(line));
        }
    }
    code
}

/// The rooms that a file names: after `crate::`, be it in a list or not, and, in a file that is
/// a room by itself, after `super::`.
fn uses(file: &Path, text: &str) -> BTreeSet<String> {
    let mut code = code(text).join("\n");
    if file.iter().count() == 1 {
        code = code.replace("super::", "crate::");
    }
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let (list, names) = path.strip_prefix('{').map_or((false, path), |list| (true, list));
        let names = if list { names.split('}').next().unwrap_or(names) } else { names };
        let name = |path: &str| -> String {
            path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        let paths = names.split(',').take(if list { usize::MAX } else { 1 });
        found.extend(paths.map(name).filter(|name| !name.is_empty()));
    }
    found
}

/// Every use that the table does not allow: by which file, and of which room.
fn forbidden(table: &Rooms, file: &Path, text: &str) -> Vec<String> {
    let own = room(file);
    // The program itself may use everything, and for tests anything goes.
    if own == "main" || file.ends_with("tests.rs") {
        return Vec::new();
    }
    let allowed = |used: &String| *used == own || table.get(&own).is_some_and(|uses| uses.contains(used));
    let used = uses(file, text).into_iter().filter(|used| !allowed(used));
    used.map(|used| format!("{} uses {used}", file.display())).collect()
}

#[test]
fn every_use_of_a_room_is_allowed() {
    let table = table();
    let found = sources();
    let forbidden: Vec<String> =
        found.iter().flat_map(|(file, text)| forbidden(&table, file, text)).collect();
    assert_eq!(forbidden, [""; 0]);
}

#[test]
fn every_room_is_in_the_table_and_every_row_is_a_room() {
    let rooms: BTreeSet<String> = sources().iter().map(|(file, _)| room(file)).collect();
    let rooms: Vec<String> = rooms.into_iter().filter(|room| room != "main" && room != "lib").collect();
    let table = table();
    assert_eq!(table.keys().cloned().collect::<Vec<_>>(), rooms);
    for used in table.values().flatten() {
        assert!(table.contains_key(used), "{used} has no row");
    }
}

#[test]
fn there_is_no_circle_in_the_table() {
    let mut table = table();
    while !table.is_empty() {
        let bottom = table.iter().find(|(_, uses)| !uses.iter().any(|used| table.contains_key(used)));
        let Some(bottom) = bottom.map(|(room, _)| room.clone()) else {
            panic!("these use each other: {:?}", table.keys().collect::<Vec<_>>());
        };
        table.remove(&bottom);
    }
}

#[test]
fn a_use_is_found_wherever_it_stands_and_a_comment_is_none() {
    let table = Rooms::from([("plan".to_owned(), BTreeSet::from(["model".to_owned()]))]);
    let forbidden = |file: &str, text: &str| forbidden(&table, Path::new(file), text);
    for (file, text) in [
        ("plan/veth.rs", "use crate::kernel::Kernel;"),
        ("plan/veth.rs", "use crate::{model::step::Step,\n    kernel};"),
        ("plan.rs", "use super::kernel::Kernel;"),
        ("plan/mod.rs", "fn f() {\n    crate::kernel::open();\n}"),
        ("plan/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::plan;\n}\nuse crate::kernel;"),
    ] {
        assert_eq!(forbidden(file, text), [format!("{file} uses kernel")], "{text}");
    }
    for text in [
        "use crate::model::step::Step;\nuse crate::plan::Plan;",
        "//! See [`crate::kernel`].\n    // crate::kernel\nlet a = 1; // as crate::kernel does",
        "#[cfg(test)]\nmod tests {\n    use crate::kernel;\n    fn f() {\n    }\n}",
        "#[cfg(test)]\nmod tests;\npub(in crate::plan) fn f() {}",
        "use super::kernel;",
    ] {
        assert_eq!(forbidden("plan/mod.rs", text), [""; 0], "{text}");
    }
}
