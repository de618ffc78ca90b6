//! Definitions that are wrong, change, or choose for themselves.

use super::{DEFINED, configure, refused, world};
use crate::common::stderr;

#[test]
fn a_definition_that_is_wrong_is_refused_with_its_place_and_changes_nothing() {
    let Some(mut world) = world(DEFINED) else { return };
    let (process, before) = (world.process(), world.snapshot());
    for (text, said) in [
        (
            "[network.a]\nsubnets = ['10.8.0.0/24']",
            "line 2, column 12: address '10.8.0.0/24': it is the network or",
        ),
        ("[network.a]\nmode = 'rooted'", "line 2, column 8: 'rooted' is not one of nat, routed, isolated"),
        ("[network.a]\n[network.a]", "line 2, column "),
        (
            "[network.a]\nsubnets = ['10.8.0.1/24']\n[network.b]\nsubnets = ['10.8.0.129/25']",
            "line 4, column 12: subnet 10.8.0.128/25 of network b overlaps 10.8.0.0/24 of network a",
        ),
    ] {
        configure(&world, text);
        let error = refused(&world, "web", process, "a");
        assert!(error.contains(said) && error.contains("\n  hint: "), "{text}: {error}");
    }
    configure(&world, DEFINED);
    let error = refused(&world, "web", process, "frnt");
    assert!(error.contains("use network frnt: unknown network\n  hint: did you mean front?"), "{error}");
    let files = |lines: &[String]| {
        lines.iter().filter(|line| !line.starts_with("/run/")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(files(&world.snapshot()), files(&before));
}

#[test]
fn a_definition_that_has_changed_is_refused_while_containers_are_on_it_and_taken_over_after() {
    let Some(mut world) = world(DEFINED) else { return };
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("network", "front"), ("ipfile", "a")]);
    configure(&world, "[network.front]\nsubnets = ['10.88.0.1/24']\ninternal = true");
    let said = refused(&world, "b", b, "front");
    for part in [
        "use network front: its definition has changed while 1 containers are on it, a among them: ",
        "subnets 10.88.0.1/24, which was 10.8.0.1/24; internal true, which was false",
        "\n  hint: detach them, or take the change back",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(world.netns_ok(&["networks"], "").contains("changed"));
    assert!(a.pings("10.8.0.1"), "who is there stays");
    world.detach_ok("a");
    world.attach_ok("b", b, &[("network", "front"), ("ipfile", "b")]);
    assert!(b.sh("ip -o -4 addr show eth0").contains("10.88.0.2/24"));
    assert!(!world.sh("ip -o -4 addr show").contains("10.8.0.1"));
    configure(&world, "[network.front]\nsubnets = ['10.77.0.1/24']");
    let output = world.netns(&["create", "front"], "");
    assert!(stderr(&output).contains("its definition has changed"), "{}", stderr(&output));
}

#[test]
fn subnets_that_nobody_chose_stay_while_the_network_is_there() {
    let Some(mut world) = world("[network.one]\n[network.two]") else { return };
    let process = world.process();
    world.attach_ok("web", process, &[("network", "one;two")]);
    let before = process.sh("ip -o -4 addr show | grep eth");
    // What is defined besides may not take it away.
    configure(&world, "[network.a]\n[network.b]\n[network.c]\n[network.one]\n[network.two]");
    let other = world.process();
    world.attach_ok("other", other, &[("network", "one;two;a"), ("ipfile", "o")]);
    let address = before.split_whitespace().find(|word| word.starts_with("10.")).unwrap();
    assert!(other.pings(address.split('/').next().unwrap()), "{before}");
}

#[test]
fn a_subnet_that_nobody_chose_is_one_that_the_host_has_no_route_to() {
    let Some(world) = world("[network.one]") else { return };
    world.netns_ok(&["create", "one"], "");
    let subnet =
        |world: &crate::common::World| world.sh("ip -4 route show dev one | cut -d' ' -f1").trim().to_owned();
    let usual = subnet(&world);
    assert!(usual.starts_with("10."), "{usual}");
    world.netns_ok(&["rm", "one"], "");
    world.sh(&format!(
        "ip link add wire0 type veth peer name wire1 && ip link set wire1 up && ip link set wire0 up && ip route add {usual} dev wire0"
    ));
    world.netns_ok(&["create", "one"], "");
    let other = subnet(&world);
    assert!(other.starts_with("10.") && other != usual, "{other}");
    world.sh("ip link del wire0");
    world.netns_ok(&["create", "one"], "");
    assert_eq!(subnet(&world), other, "it stays");
}
