//! Networks whose subnet flannel chooses: what its file says, does not say, and says no more.

use std::fs;

use super::{configure, refused, world};
use crate::common::{Process, World, stderr};

const FILE: &str = "/run/flannel/subnet.env";
const DEFINED: &str = "[network.flat]\nsubnet-from = '/run/flannel/subnet.env'\n\
                       trusted-interfaces = ['flannel.1', 'ens6']\n[network.own]\nsubnets = ['10.9.0.1/24']\n";

/// A file as flannel writes it for this subnet.
fn write(subnet: &str, masquerades: bool) {
    fs::create_dir_all("/run/flannel").unwrap();
    let text = format!(
        "FLANNEL_NETWORK=10.5.0.0/16,10.6.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1450\n\
         FLANNEL_IPMASQ={masquerades}\n"
    );
    fs::write(FILE, text).unwrap();
}

fn attach(world: &World, id: &str, process: Process, network: &str) {
    world.attach_ok(id, process, &[("network", network), ("ipfile", id)]);
}

fn said(world: &World, args: &[&str]) -> String {
    let output = world.netns(args, "");
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
}

#[test]
fn where_flannel_is_not_up_yet_only_its_network_waits() {
    let Some(mut world) = world(DEFINED) else { return };
    let (a, b) = (world.process(), world.process());
    let missing = "read the subnet of network flat from /run/flannel/subnet.env: No such file or directory";
    for told in
        [refused(&world, "a", a, "flat"), said(&world, &["create", "flat"]), said(&world, &["networks"])]
    {
        assert!(told.contains(missing) && told.contains("is flanneld up?"), "{told}");
    }
    assert!(said(&world, &["networks"]).contains("absent"));
    let cni = world.try_sh(&format!(
        "echo '{{\"cniVersion\": \"1.0.0\", \"name\": \"k\", \"type\": \"netns\", \"network\": \"flat\"}}' |
         env CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/proc/{}/ns/net CNI_IFNAME=eth0 CNI_PATH=/ \
         NETNS_CONFIG=/run/test/netns.toml {}",
        a.pid,
        crate::common::NETNS
    ));
    let cni: serde_json::Value = serde_json::from_slice(&cni.stdout).unwrap();
    assert_eq!((&cni["code"], cni["msg"].as_str().unwrap().contains(missing)), (&11.into(), true), "{cni}");
    attach(&world, "b", b, "own");
    let found = said(&world, &["doctor"]);
    assert!(found.contains(missing) && found.contains("no container gets that network"), "{found}");
    write("10.5.72.1/24", false);
    attach(&world, "a", a, "flat");
    assert!(a.sh("ip -o addr show eth0").contains("10.5.72.2/24"));
    assert!(a.sh("ip link show eth0").contains("mtu 1450 "));
    // Who has it keeps it, and goes without it.
    fs::remove_file(FILE).unwrap();
    let listed = said(&world, &["networks"]);
    assert!(
        listed.contains(missing) && listed.contains("10.5.72.1/24") && listed.contains(" up "),
        "{listed}"
    );
    world.detach_ok("a");
    world.detach_ok("b");
    world.netns_ok(&["rm", "flat"], "");
}

#[test]
fn a_file_with_a_mistake_is_told_with_its_line_and_nobody_waits_for_one() {
    let Some(mut world) = world(DEFINED) else { return };
    let process = world.process();
    write("10.5.72.0/24", false);
    let told = refused(&world, "web", process, "flat");
    assert!(
        told.contains("use line 2 of /run/flannel/subnet.env for network flat: FLANNEL_SUBNET: "),
        "{told}"
    );
    for (text, cause) in [
        (String::new(), "it names neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET"),
        ("# much\n".repeat(1000), "it is larger than 4096 bytes"),
        (
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_SUBNET=10.5.2.1/24".into(),
            "use 10.5.1.1/24 and",
        ),
    ] {
        fs::write(FILE, text).unwrap();
        let told = refused(&world, "web", process, "flat");
        assert!(told.contains(cause), "{told}");
    }
    fs::remove_file(FILE).unwrap();
    world.sh(&format!("mkfifo {FILE}"));
    let told = refused(&world, "web", process, "flat");
    assert!(told.contains("it names neither"), "{told}");
}

#[test]
fn a_subnet_that_changes_is_taken_over_once_nobody_has_an_address_of_the_old_one() {
    let Some(mut world) = world(DEFINED) else { return };
    let (a, b) = (world.process(), world.process());
    write("10.5.72.1/24", false);
    world.netns_ok(&["create", "flat"], "");
    write("10.5.9.1/24", false);
    assert!(said(&world, &["networks"]).contains(" changed "));
    assert!(world.netns(&["doctor"], "").status.success(), "nobody is there to be disturbed");
    attach(&world, "a", a, "flat");
    assert!(a.sh("ip -o addr show eth0").contains("10.5.9.2/24"), "it was empty");
    assert!(!world.sh("ip -o addr show").contains("10.5.72."));
    write("10.6.9.1/24", false);
    let told = refused(&world, "b", b, "flat");
    for part in [
        "its definition or /run/flannel/subnet.env has changed while 1 containers are on it, a among them: ",
        "subnets 10.6.9.1/24, which was 10.5.9.1/24",
        "hint: detach them, or take the change back",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let found = said(&world, &["doctor"]);
    assert!(
        found.contains("network flat") && found.contains("subnets 10.6.9.1/24, which was 10.5.9.1/24"),
        "{found}"
    );
    assert!(a.pings("10.5.9.1"), "who is there stays");
    world.detach_ok("a");
    assert!(world.netns(&["doctor"], "").status.success());
    world.netns_ok(&["create", "flat"], "");
    attach(&world, "b", b, "flat");
    assert!(b.sh("ip -o addr show eth0").contains("10.6.9.2/24"));
}

#[test]
fn a_route_that_covers_the_subnet_is_right_where_other_hosts_are_and_nowhere_else() {
    let Some(mut world) = world(DEFINED) else { return };
    let process = world.process();
    world.neighbour();
    // As flannel's WireGuard has it, and flannel's device its address.
    world.sh("ip route add 10.5.0.0/16 dev wire0; ip route add 10.9.0.0/16 dev wire0");
    write("10.5.72.1/24", false);
    attach(&world, "web", process, "flat");
    assert!(world.netns(&["doctor"], "").status.success(), "{}", said(&world, &["doctor"]));
    world.detach_ok("web");
    world.netns_ok(&["rm", "flat"], "");
    let told = refused(&world, "web", process, "own");
    assert!(told.contains("the host already has a route to 10.9.0.0/16 by wire0"), "{told}");
    // Another host says that it has the same.
    world.sh("ip route add 10.5.72.0/24 via 10.0.0.2");
    let told = refused(&world, "web", process, "flat");
    assert!(told.contains("the host already has a route to 10.5.72.0/24 by wire0"), "{told}");
}

#[test]
fn what_flannel_masquerades_we_do_not_and_no_other_host_sees_our_address() {
    let Some(world) = world(DEFINED) else { return };
    let rules = |masquerades| {
        write("10.5.72.1/24", masquerades);
        world.netns_ok(&["create", "flat"], "");
        world
            .sh("iptables -t nat -S NETNS-MASQUERADE")
            .replace(" -m comment --comment \"netns network flat\"", "")
    };
    let (ours, flannels) = (rules(false), rules(true));
    for range in ["10.5.0.0/16", "10.6.0.0/16"] {
        let kept = format!("-s 10.5.72.0/24 -d {range} ! -o flat -j RETURN");
        assert!(ours.contains(&kept) && flannels.contains(&kept), "{range}: {ours}");
    }
    let all = "-s 10.5.72.0/24 ! -o flat -j MASQUERADE";
    assert!(ours.contains(all) && !flannels.contains(all), "{flannels}");
}

#[test]
fn the_rules_for_other_hosts_are_restored_moved_and_removed_with_the_network() {
    let Some(mut world) = world(DEFINED) else { return };
    let (process, other) = (world.process(), world.process());
    write("10.5.72.1/24", false);
    attach(&world, "web", process, "flat");
    let before = world.snapshot();
    assert!(before.iter().any(|line| line.contains("-i ens6 -m rpfilter")), "{before:#?}");
    world.sh("iptables -t nat -F; iptables -t filter -F; iptables -t raw -F");
    world.netns_ok(&["reload"], "");
    world.assert_as(&before);
    for (firewall, other) in [("nftables", "NETNS-GUARD"), ("iptables", "fib saddr . iif")] {
        let moved = world.netns_ok(&["reload", "--firewall", firewall], "");
        assert!(moved.contains(firewall), "{moved}");
        assert!(!world.rules().contains(other), "{}", world.rules());
        assert_eq!(world.netns_ok(&["gc"], ""), "");
    }
    world.assert_as(&before);
    let list: serde_json::Value = serde_json::from_str(&world.netns_ok(&["networks", "--json"], "")).unwrap();
    let flat = list.as_array().unwrap().iter().find(|row| row["name"] == "flat").unwrap();
    assert_eq!(flat["subnet_from"], FILE);
    assert_eq!(flat["no_masquerade_to"], serde_json::json!(["10.5.0.0/16", "10.6.0.0/16"]));
    assert_eq!(flat["trusted_interfaces"], serde_json::json!(["flannel.1", "ens6"]));
    let plan = world.netns_ok(
        &["plan"],
        &crate::common::state("other", "creating", Some(other.pid), &[("network", "flat")]),
    );
    assert!(plan.contains("10.5.72.3/24"), "{plan}");
    configure(&world, &DEFINED.replace(", 'ens6'", ""));
    let told = refused(&world, "b", process, "flat");
    assert!(told.contains("trusted-interfaces flannel.1, which was flannel.1 and ens6"), "{told}");
    configure(&world, DEFINED);
    world.detach_ok("web");
    world.netns_ok(&["rm", "flat"], "");
    assert!(!world.rules().contains("netns"), "{}", world.rules());
}

#[test]
fn who_is_not_on_the_network_never_reads_its_file() {
    let Some(mut world) = world(DEFINED) else { return };
    write("10.5.72.1/24", true);
    let process = world.process();
    let attach = |network: &str| format!("attach --id a --network {network} {}", process.pid);
    let cni = format!(
        "echo '{{\"cniVersion\": \"1.0.0\", \"name\": \"k\", \"type\": \"netns\", \"bridge\": \"own\", \
         \"ipam\": {{\"subnet\": \"10.9.0.0/24\"}}}}' | env CNI_CONTAINERID=b CNI_IFNAME=eth7 CNI_NETNS=/proc/{}/ns/net",
        process.pid
    );
    let reads = |before: &str, after: &str| {
        world.sh(&format!(
            "{before} NETNS_CONFIG=/run/test/netns.toml strace -f -e trace=open,openat -o /run/test/trace {} {after}",
            crate::common::NETNS
        ));
        fs::read_to_string("/run/test/trace").unwrap().contains(FILE)
    };
    for (before, after, expected) in [
        ("", attach("own"), false),
        ("", "detach a".to_owned(), false),
        ("", attach("flat"), true),
        ("", "detach a".to_owned(), false),
        (&format!("{cni} CNI_COMMAND=ADD"), String::new(), false),
        (&format!("{cni} CNI_COMMAND=DEL"), String::new(), false),
    ] {
        assert_eq!(reads(before, &after), expected, "{before} {after}");
    }
}
