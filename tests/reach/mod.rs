//! Who reaches whom: every cell of the tables in docs/networks.md, asserted by a packet, on every
//! firewall. What is measured is printed as these tables, and must be what the page says.

mod probe;
mod table;
mod world;

use crate::common::{World, on_every_firewall};
use world::Scene;

const PAGE: &str = include_str!("../../docs/networks.md");

on_every_firewall!(who_reaches_whom_is_as_documented);

fn who_reaches_whom_is_as_documented(world: World) {
    let scene = Scene::new(world);
    let measured = table::tables(&scene.measure());
    eprintln!("{measured}");
    let differs = measured.lines().filter(|line| !PAGE.lines().any(|known| known == *line));
    let differs: Vec<&str> = differs.collect();
    // What keeps others out is the guard, and not that these packets would not come.
    scene.assert_open_without_guard();
    assert!(
        PAGE.contains(measured.trim_end()),
        "docs/networks.md says otherwise of:\n{}",
        differs.join("\n")
    );
}
