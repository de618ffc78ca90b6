//! What a definition means, and every mistake of one.

use super::*;
use crate::config::file;

fn networks(text: &str) -> Result<Vec<NetworkSpec>> {
    Ok(file::parse(&text.replace('\'', "\""), "/f".as_ref())?.networks)
}

fn shown(networks: &[NetworkSpec]) -> Vec<String> {
    networks.iter().map(|one| format!("{} {} {}", one.name, one.bridge, all(one.subnets.iter()))).collect()
}

#[test]
fn every_key_is_read() {
    let text = "[network.front]\ndriver = 'bridge'\nbridge = 'front0'\nsubnets = ['10.8.0.1/24']\n\
                mode-ipv4 = 'routed'\ninternal = true\nisolate = 'none'\ninter-container = false\nmtu = 1400\n\
                firewall = 'nftables'\nroutes = ['10.9.0.0/16 via 10.8.0.2 metric 50']\ndns = ['10.8.0.53']\n\
                [network.back]\nsubnets = ['10.9.0.1/24']\nmode = 'isolated'";
    let [back, front] = &networks(text).unwrap()[..] else { panic!() };
    assert_eq!(shown(&[front.clone(), back.clone()]), ["front front0 10.8.0.1/24", "back back 10.9.0.1/24"]);
    assert_eq!((front.reach.mode_ipv4, front.reach.mode_ipv6), (Mode::Routed, Mode::Nat));
    assert_eq!((back.reach.mode_ipv4, back.reach.mode_ipv6), (Mode::Isolated, Mode::Isolated));
    assert_eq!((front.reach.internal, front.reach.isolate), (true, Isolation::None));
    assert!(!front.reach.inter_container && back.reach.inter_container);
    assert_eq!((front.mtu, front.firewall), (Some(1400), Some(Backend::Nftables)));
    assert_eq!(all(front.routes.iter()), "10.9.0.0/16 via 10.8.0.2 metric 50");
    assert_eq!(all(front.dns.iter()), "10.8.0.53");
}

#[test]
fn other_hosts_are_known_by_links_and_ranges_none_of_which_is_within_another() {
    let ranges = "'10.8.0.0/16', 'fd00::/8', '10.8.4.0/24', '10.8.0.0/16', 'fd00:8::/48'";
    let text = format!("[network.a]\ntrusted-interfaces = ['wg0', 'ens6']\nno-masquerade-to = [{ranges}]");
    let peers = &networks(&text).unwrap()[0].peers;
    assert_eq!(all(peers.trusted_interfaces.iter()), "wg0, ens6");
    assert_eq!(all(peers.no_masquerade_to.iter()), "10.8.0.0/16, fd00::/8");
    assert_eq!(
        all(peers.of(Family::Ipv6).pairs().map(|(link, range)| format!("{link} {range}"))),
        "wg0 fd00::/8, ens6 fd00::/8"
    );
}

#[test]
fn what_a_network_is_on_is_read() {
    let on = |keys: &str| {
        let text = format!("[network.lan]\nparent = 'ens6'\nsubnets = ['10.8.0.1/24']\n{keys}");
        networks(&text).unwrap()[0].parent.as_ref().unwrap().to_string()
    };
    assert_eq!(on("driver = 'macvlan'"), "macvlan mode bridge on ens6");
    assert_eq!(
        on("driver = 'macvlan'\nmacvlan-mode = 'passthru'\nvlan = 20"),
        "macvlan mode passthru on ens6.20"
    );
    let all = "driver = 'macvlan'\nhost-access = true\nrouter-advertisements = true";
    assert_eq!(on(all), "macvlan mode bridge on ens6 with host-access with router-advertisements");
    assert_eq!(on("driver = 'ipvlan'\nipvlan-mode = 'l3s'\nvlan = '7'"), "ipvlan mode l3s on ens6.7");
    let ranges = "lease-ranges = ['10.8.0.8 - 10.8.0.9', '10.8.0.64/26']";
    let spec = &networks(&format!("[network.front]\nsubnets = ['10.8.0.1/24']\n{ranges}")).unwrap()[0];
    assert_eq!(all_of(&spec.ranges), "10.8.0.8-10.8.0.9, 10.8.0.64-10.8.0.127");
}

fn all_of<T: std::fmt::Display>(values: &[T]) -> String {
    all(values.iter())
}

#[test]
fn a_long_name_has_a_bridge_of_its_own() {
    let long = "a-network-with-a-very-long-name";
    let one = networks(&format!("[network.{long}]")).unwrap();
    let bridge = one[0].bridge.as_str();
    assert!(bridge.len() == 15 && bridge.starts_with("netns"), "{bridge}");
    assert_ne!(networks(&format!("[network.{long}r]")).unwrap()[0].bridge.as_str(), bridge);
}

#[test]
fn subnets_that_nobody_chose_are_the_same_on_every_run_and_apart() {
    let text: String = (0..60).map(|n| format!("[network.n{n}]\nsubnets = 'auto'\n")).collect();
    let all = networks(&text).unwrap();
    assert_eq!(all, networks(&text).unwrap());
    let subnets: Vec<IpNetwork> = all.iter().flat_map(|network| network.subnets.clone()).collect();
    assert!(subnets.len() >= 60);
    for (at, one) in subnets.iter().enumerate() {
        assert!(subnets[..at].iter().all(|other| !overlap(*one, *other)), "{one}");
    }
    let pool: IpNetwork = "10.160.0.0/11".parse().unwrap();
    assert!(subnets.iter().all(|one| one.is_ipv6() || pool.contains(one.ip())));
    let alone = networks("[network.n7]").unwrap();
    let taken = alone[0].subnets[0];
    let beside = networks(&format!("[network.n7]\n[network.other]\nsubnets = ['{taken}']")).unwrap();
    assert_ne!(beside[0].subnets[0], taken, "a definition goes before");
    assert!(beside[0].lent && !beside[1].lent);
}

/// What is wrong after the first line, the place and the cause, and a part of the hint.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("subnets = ['10.8.0.0/24']", "subnets #2:12: address '10.8.0.0/24': it is the network", "10.8.0.1/24"),
    ("subnets = ['10.8.0.255/24']", "subnets #2:12: address", ""),
    ("subnets = ['10.8.0.1']", "subnets #2:12: address '10.8.0.1': it lacks its prefix length", ""),
    (
        "subnets = ['10.8.0.1/24',\n '10.9.0.1/24']",
        "subnets #3:2: 10.8.0.1/24 is of the same",
        "define another",
    ),
    ("subnets = []", "subnets #2:11: it is empty", "\"auto\""),
    ("subnets = 7", "subnets #2:11: it must be a list", ""),
    ("mode = 'rooted'", "mode #2:8: 'rooted' is not one of nat, routed, isolated", "did you mean routed?"),
    ("isolate = 'yes'", "isolate #2:11: 'yes' is not one of strict, normal, none", ""),
    ("internal = 'no'", "internal #2:12: it must be true or false", ""),
    ("mtu = 12", "mtu #2:7: mtu '12': it must be from 68", ""),
    ("bridge = 'a/b'", "bridge #2:10: interface name", ""),
    ("firewall = 'pf'", "firewall #2:12: firewall 'pf': it must be iptables or nftables", ""),
    ("dns = ['x']", "dns #2:8: name server 'x'", ""),
    ("driver = 'macvlan'", "#2:10: macvlan takes a parent", "write parent = \"ens6\""),
    ("driver = 'brige'", "driver #2:10: 'brige' is not one of bridge", "did you mean bridge?"),
    ("subnet-from = 'env'\ntrusted-interfaces = ['f']", "subnet-from #2:15: it must be the whole path", ""),
    ("subnet-from = '/env'", "#2:1: nothing says by which links other hosts' containers come", "flannel.1"),
    ("no-masquerade-to = ['10.8.0.0/16']", "#2:1: nothing says by which links", "add trusted-interfaces"),
    (
        "trusted-interfaces = ['f']\nno-masquerade-to = ['10.8.0.0/16']\ninter-container = false",
        "#2:1: other hosts' containers would reach those here",
        "leave inter-container = false out",
    ),
    ("trusted-interfaces = ['eth0']", "#2:1: nothing says which addresses", "add no-masquerade-to"),
    (
        "subnets = ['10.8.0.1/24']\nsubnet-from = '/env'\ntrusted-interfaces = ['f']",
        "#4:1: its subnets are both here and in a file",
        "leave",
    ),
    ("trusted-interfaces = ['eth+']", "trusted-interfaces #2:23: interface name", ""),
    (
        "no-masquerade-to = ['10.8.0.1/16']",
        "no-masquerade-to #2:21: range '10.8.0.1/16': it has an address beside its prefix; 10.8.0.0/16 has none",
        "",
    ),
    ("no-masquerade-to = ['0.0.0.0/0']", "no-masquerade-to #2:21: range '0.0.0.0/0': it is everybody's", ""),
    (
        "\nvlan = 20",
        "#3:1: vlan is for networks on a parent, and this one is on a bridge",
        "leave the key out",
    ),
    ("driver = 'macvlan'\nparent = 'ens6'", "#2:10: macvlan takes the subnets of its wire", "ROUTER/PREFIX"),
    ("MACVLAN-vlan = 4095", "vlan #5:8: a VLAN has a number from 1 to 4094", ""),
    (
        "MACVLAN-mode = 'nat'",
        "#5:1: mode is for networks on a bridge: on a parent the host sees no",
        "leave it out",
    ),
    ("MACVLAN-isolate = 'none'", "#5:1: isolate is for networks on a bridge", "write driver = \"bridge\""),
    ("MACVLAN-inter-container = false", "#5:1: inter-container is for networks on a bridge", ""),
    ("MACVLAN-ipvlan-mode = 'l2'", "#5:1: ipvlan-mode is that of another driver", "write macvlan-mode"),
    ("MACVLAN-macvlan-mode = 'brige'", "#5:16: 'brige' is not one of bridge, private, vepa, passthru", ""),
    (
        "MACVLAN-host-access = true\nmacvlan-mode = 'private'",
        "#5:1: in macvlan mode private nobody",
        "bridge",
    ),
    ("MACVLAN-lease-ranges = ['10.9.0.5-10.9.0.9']", "#5:17: 10.9.0.5-10.9.0.9 is in no subnet", "write"),
    ("MACVLAN-lease-ranges = ['10.8.0.9-10.8.0.5']", "#5:17: lease range '10.8.0.9-10.8.0.5': its last", ""),
    ("IPVLAN-host-access = true", "#5:1: host-access takes macvlan", ""),
    ("IPVLAN-macvlan-mode = 'vepa'", "#5:1: macvlan-mode is that of another driver", "write ipvlan-mode"),
    (
        "driver = 'macvlan'\nparent = 'front'\nsubnets = ['10.8.0.1/24']\nhost-access = true",
        "#5:1: the host's interface is called as the network",
        "another name",
    ),
    (
        "driver = 'macvlan'\nparent = 'a-long-parent'\nsubnets = ['10.8.0.1/24']\nvlan = 20",
        "#5:1: interface name 'a-long-parent.20'",
        "rename the parent",
    ),
    ("subnet = '10.8.0.1/24'", "subnet #2:1: unknown key", "did you mean subnets?"),
    ("zzzzzzzz = 1", "zzzzzzzz #2:1: unknown key", "the keys of a network are driver"),
    ("mode = 'nat'\nmode-ipv4 = 'nat'", "#3:1: mode is that of both families already", "or else"),
    ("subnets = ['10.8.0.1/24']\nmode-ipv6 = 'nat'", "#3:1: the network has no subnet of this", "add one"),
    ("subnets = ['10.8.0.1/24']\nroutes = ['10.7.0.0/16 via fd00::1']", "routes #3:11: route", ""),
    (
        "subnets = ['10.8.0.1/24']\nroutes = ['10.7.0.0/16 via 10.7.0.1']",
        "#3:11: its next hop 10.7.0.1",
        "reach",
    ),
    ("[network.back]\nbridge = 'front'", "#3:10: bridge front is that of network", "of its own"),
    ("[network.Back]", "network.Back #2:10: a name has 1 to 63 lower-case", ""),
    (
        "subnets = ['10.8.0.1/24']\n[network.back]\nsubnets = ['10.8.0.128/16']",
        "#4:12: subnet 10.8.0.0/24 of network front overlaps 10.8.0.0/16 of network back",
        "give each network a subnet of its own",
    ),
];

#[test]
fn a_mistake_is_told_with_its_place_and_the_remedy() {
    for (text, message, hint) in MISTAKES {
        let on = |driver: &str| format!("driver = '{driver}'\nparent = 'ens6'\nsubnets = ['10.8.0.1/24']\n");
        let text = text.replace("MACVLAN-", &on("macvlan")).replace("IPVLAN-", &on("ipvlan"));
        let error = networks(&format!("[network.front]\n{text}")).unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{error}");
        let message = message.replace('#', "in configuration /f, line ").replacen(':', ", column ", 1);
        let error = error.to_string();
        assert!(error.contains(&message), "{text}: {error}\nand not {message}");
        assert!(error.contains(hint) && (hint.is_empty() || error.contains("\n  hint: ")), "{text}: {error}");
    }
    for twice in ["[network.front]\n[network.front]", "network = 'x'\n[network.front]"] {
        let error = networks(twice).unwrap_err().to_string();
        assert!(error.starts_with("read configuration /f, line 2, column "), "{error}");
    }
    assert!(
        networks("[network]\nfront = 7").unwrap_err().to_string().contains("begin it with [network.NAME]")
    );
}
