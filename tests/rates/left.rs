//! What is left of rates: nothing, however a container goes.

use serde_json::{Value, json};

use super::{both, inspected, shown};
use crate::common::{World, ask_for_in, stderr, wait_for};

const RATES: [(&str, &str); 2] = [("rate-in", "100mbit"), ("rate-out", "10mbit,32kb")];

fn world() -> Option<World> {
    let mut world = World::new()?;
    world.use_firewall("nftables");
    world.netns_ok(&["create"], "");
    Some(world)
}

#[test]
fn nothing_is_left_of_a_container_that_goes() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    let before = world.snapshot();
    world.attach_ok("web", web, &RATES);
    let tc = shown(&world);
    for (part, of) in [
        (format!("dev netnsv0-{} root", web.pid), "rate 100Mbit"),
        (format!("dev netnsi0-{} root", web.pid), "rate 10Mbit"),
        (format!("ingress ffff: dev netnsv0-{}", web.pid), ""),
    ] {
        assert!(tc.lines().any(|line| line.contains(&part) && line.contains(of)), "{part} {of}: {tc}");
    }
    assert!(web.pings("172.19.0.1"));
    assert!(world.sh("ip -6 addr show").lines().all(|line| !line.contains("netnsi0")));
    world.detach_ok("web");
    assert_eq!(shown(&world), "");
    world.assert_as(&before);
    // Without a rate there is neither.
    world.attach_ok("web", web, &[]);
    assert_eq!(shown(&world), "");
}

#[test]
fn a_container_of_runc_has_the_rates_that_its_annotations_ask_for() {
    let Some(mut world) = world() else { return };
    let before = world.links();
    let bundle = world.bundle("web", &["createRuntime", "poststop"], "");
    ask_for_in(&bundle, &RATES);
    let web = world.runc_start("web", &bundle);
    let rates: Vec<u64> = inspected(&world, "web").iter().map(|(_, _, bits)| *bits).collect();
    assert_eq!(rates, [100_000_000, 10_000_000]);
    assert!(web.pings("172.19.0.1"));
    world.runc_delete("web");
    assert_eq!((world.links(), shown(&world)), (before, String::new()));
}

#[test]
fn a_container_on_two_networks_has_its_rate_on_each_unless_one_has_its_own() {
    let Some(mut world) = World::new() else { return };
    let file = "[network.front]\nsubnets = ['10.8.0.1/24']\n[network.back]\nsubnets = ['10.9.0.1/24']\n";
    std::fs::write("/run/test/netns.toml", file).unwrap();
    world.flags = vec!["--config=/run/test/netns.toml".to_owned(), "--firewall=nftables".to_owned()];
    let before = world.links();
    let web = world.process();
    world.attach_ok("web", web, &[("network", "front;back:rate-in=5mbit/64kb"), ("rate-in", "10mbit")]);
    let rates: Vec<u64> = inspected(&world, "web").iter().map(|(_, _, bits)| *bits).collect();
    assert_eq!(rates, [10_000_000, 5_000_000]);
    let text = world.netns_ok(&["inspect", "web"], "");
    assert!(
        text.contains("\nrate in       eth0 10mbit  ") && text.contains("\nrate in       eth1 5mbit  "),
        "{text}"
    );
    world.detach_ok("web");
    world.netns_ok(&["rm", "front"], "");
    world.netns_ok(&["rm", "back"], "");
    assert_eq!(world.links(), before);
}

#[test]
fn what_a_dead_container_sent_by_goes_with_the_next_run() {
    let Some(mut world) = world() else { return };
    let before = world.links();
    let (web, other) = (world.process(), world.process());
    world.attach_ok("web", web, &RATES);
    world.kill(web);
    wait_for("the veth pair to go", || !world.links().contains(&format!("netnsv0-{}", web.pid)));
    assert!(world.links().contains(&format!("netnsi0-{}", web.pid)), "it outlives the veth pair");
    world.attach_ok("web", other, &RATES);
    assert!(!world.links().contains(&format!("netnsi0-{}", web.pid)));
    world.detach_ok("web");
    assert_eq!(world.links(), before);
}

#[test]
fn without_any_record_gc_finds_what_the_dead_sent_by_and_adopts_the_rates_of_the_living() {
    let Some(mut world) = world() else { return };
    let before = world.links();
    let (dead, living) = (world.process(), world.process());
    world.attach_ok("dead", dead, &[RATES[0], RATES[1], ("ipfile", "dead")]);
    world.attach_ok("living", living, &[RATES[0], RATES[1], ("ipfile", "living")]);
    world.sh("rm -r /run/netns-hook");
    world.kill(dead);
    wait_for("the veth pair to go", || !world.links().contains(&format!("netnsv0-{}", dead.pid)));
    let found = world.netns_ok(&["gc", "--dry-run"], "");
    assert!(found.contains(&format!("link netnsi0-{}\n", dead.pid)), "{found}");
    assert!(!found.contains(&format!("netnsi0-{}", living.pid)), "{found}");
    world.netns_ok(&["gc", "--adopt"], "");
    world.netns_ok(&["gc"], "");
    assert!(!world.links().contains(&format!("netnsi0-{}", dead.pid)));
    let rates: Vec<u64> = inspected(&world, "living").iter().map(|(_, _, bits)| *bits).collect();
    assert_eq!(rates, [100_000_000, 10_000_000]);
    assert_eq!(world.netns_ok(&["doctor"], ""), "nothing is wrong: 1 container on 1 network\n");
    world.netns_ok(&["detach", "living"], "");
    assert_eq!(world.links(), before);
}

#[test]
fn a_container_whose_record_is_damaged_leaves_nothing() {
    let Some(mut world) = world() else { return };
    let before = world.links();
    let web = world.process();
    world.attach_ok("web", web, &RATES);
    std::fs::write(world.record("web"), "{").unwrap();
    let output = world.detach("web");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!((world.links(), shown(&world)), (before, String::new()));
}

#[test]
fn a_link_of_somebody_else_that_has_the_name_stays() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    world.sh(&format!("ip link add netnsi0-{} type ifb", web.pid));
    let before = world.links();
    world.attach_ok("web", web, &RATES);
    let names: Vec<String> = inspected(&world, "web").into_iter().map(|(_, link, _)| link).collect();
    assert_eq!(names[0].replace("netnsv0-", ""), names[1].replace("netnsi0-", ""));
    assert!(names.iter().all(|name| !name.ends_with(&format!("-{}", web.pid))), "{names:?}");
    assert!(web.pings("172.19.0.1"));
    world.detach_ok("web");
    assert_eq!(world.links(), before);
}

#[test]
fn a_second_container_in_the_namespace_keeps_the_rates_until_it_goes() {
    let Some(mut world) = world() else { return };
    let before = world.links();
    let web = world.process();
    world.attach_ok("web", web, &[("rate-in", "10mbit"), ("rate-out", "10mbit"), ("ipfile", "web")]);
    world.attach_ok("mate", web, &[("ipfile", "mate")]);
    world.detach_ok("web");
    assert_eq!(inspected(&world, "mate"), both(web, 10_000_000));
    world.detach_ok("mate");
    assert_eq!(world.links(), before);
    assert_eq!(world.ls(), json!([]));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    let before = world.snapshot();
    for (options, told) in [
        (
            [("rate-in", "fast"), ("rate-out", "1mbit")],
            "rate 'fast': it must be like 100mbit, or 10mbit,32kb",
        ),
        (
            [("rate-in", "1mbit"), ("rate-out", "1mbit,1kb")],
            "use rate 1mbit/1kb: a packet has up to 1518 bytes, and would never pass",
        ),
    ] {
        let output = world.attach("web", web, &options);
        assert!(!output.status.success() && stderr(&output).contains(told), "{}", stderr(&output));
        world.assert_as(&before);
    }
}

#[test]
fn a_frame_that_is_too_short_to_have_anything_in_it_waits_like_any_other() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    world.attach_ok("web", web, &RATES);
    let packets = || {
        let inspected: Value =
            serde_json::from_str(&world.netns_ok(&["inspect", "web", "--json"], "")).unwrap();
        inspected["rates"][1]["packets"].as_u64().unwrap()
    };
    let before = packets();
    // An AF_PACKET socket sends it by the interface that `ip` numbers: 14 bytes of header, and 3.
    web.sh("perl -MSocket -e 'socket(my $s, 17, 3, 0x0300) or die $!; \
         my ($n) = `ip -o link show eth0` =~ /^(\\d+)/; \
         my $to = pack(\"S n i S C C a8\", 17, 0x88b5, $n, 0, 0, 6, \"\\xff\" x 6); \
         send($s, \"\\xff\" x 6 . \"\\x02\" x 6 . \"\\x88\\xb5abc\", 0, $to) or die $! for 1 .. 20'");
    assert!(packets() >= before + 20, "{before} and {}", packets());
}
