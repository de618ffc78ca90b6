//! What the policy allows, denies, and refuses to be.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::file;
use crate::config::options::FIELDS;

fn policy(text: &str) -> Result<Policy> {
    Ok(file::parse(&format!("[policy]\n{text}"), Path::new("/f"))?.policy)
}

/// What the policy says to an annotation; empty if it is allowed.
fn said(text: &str, name: &str, value: &str) -> String {
    let annotations = [(format!("org.netns.{name}"), value.to_owned())].into();
    let answer = crate::config::annotations(&annotations, &policy(text).unwrap());
    answer.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn without_a_policy_annotations_may_ask_for_what_is_the_containers_own() {
    for (name, value) in [
        ("publish", "22:22"),
        ("static-ip", "10.0.0.1"),
        ("alias", "db"),
        ("dns", "10.0.0.1"),
        ("dns-search", "lan"),
        ("dns-option", "rotate"),
        ("no-dns", "true"),
        ("names", "true"),
        ("add-host", "nas:10.0.0.5"),
        ("ipfile", "net/ip"),
        ("rate-in", "100mbit"),
        ("rate-out", "10mbit,32kb"),
    ] {
        assert_eq!(said("", name, value), "");
    }
}

#[test]
fn what_reaches_the_host_or_another_network_a_policy_must_allow() {
    let by_policy = [
        ("bridge", "br0", "bridges = [\"br0\"]"),
        ("ip", "10.7.0.1/24", "ips = [\"10.7.0.1/24\"]"),
        ("iface", "net0", "ifaces = [\"net0\"]"),
        ("mtu", "1400", "mtus = [\"1400\"]"),
        ("nic", "ens6=eth1,mtu=1400", "nics = [\"ens6\"]"),
        ("nic", "ens6,force", "nics = [\"ens6,force\"]"),
        ("no-bridge", "true", "options = [\"no-bridge\"]"),
        ("route", "10.9.0.0/16 via 172.19.0.9", "options = [\"route\"]"),
        ("name-netns", "true", "options = [\"name-netns\"]"),
    ];
    let listed: Vec<_> = FIELDS.iter().filter(|field| field.annotation == Annotation::ByPolicy).collect();
    assert!(listed.iter().all(|field| by_policy.iter().any(|(name, ..)| *name == field.name())));
    for (name, value, rule) in by_policy {
        let key = rule.split(' ').next().unwrap();
        let denial = format!("only the policy's {key} may allow it, as [policy] {rule}");
        for policy in ["", "publish-ports = ['80']"] {
            assert_eq!(
                said(policy, name, value),
                format!("use annotation org.netns.{name}={value}: {denial}")
            );
        }
        assert_eq!(said(rule, name, value), "", "the line that the denial shows allows it");
        let listed = said(&format!("options = ['{name}']"), name, value);
        assert_eq!(listed.is_empty(), !value.contains("force"), "{listed}");
    }
}

#[test]
fn a_denial_names_the_rule_and_what_it_allows() {
    for (text, name, value, cause) in [
        ("publish-ports = ['8000-8999']", "publish", "22:22", "publish-ports allows 8000-8999, and not 22"),
        ("publish-ports = []", "publish", "80:80", "publish-ports allows nothing, and not 80"),
        (
            "publish-addresses = ['127.0.0.1', '10.0.0.0/8']",
            "publish",
            "80:80",
            "publish-addresses allows 127.0.0.1, 10.0.0.0/8, and not 0.0.0.0",
        ),
        ("static-ips = ['172.19.9.0/24']", "static-ip", "172.19.8.1", "static-ips allows 172.19.9.0/24"),
        ("bridges = ['netns0']", "bridge", "br0", "bridges allows netns0, and not br0"),
        ("ifaces = ['eth0', 'net0']", "iface", "lo", "ifaces allows eth0, net0, and not lo"),
        ("mtus = ['1280-1500', '9000']", "mtu", "1501", "mtus allows 1280-1500, 9000, and not 1501"),
        ("ips = ['10.0.0.0/8']", "ip", "192.168.0.1/24", "ips allows 10.0.0.0/8"),
        ("aliases = ['db', '*.lan']", "alias", "github.com", "aliases allows db, *.lan, and not github.com"),
        ("rates = ['1mbit-9mbit']", "rate-in", "10mbit", "rates allows 1mbit-9mbit, and not 10mbit"),
        ("options = ['publish', 'mtu']", "bridge", "br0", "options allows publish, mtu, and not bridge"),
    ] {
        let said = said(text, name, value);
        let expected = format!("use annotation org.netns.{name}={value}: the policy's {cause}");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn what_keeps_the_bounds_is_allowed() {
    for (text, name, value) in [
        ("publish-ports = ['8000-8999', '53']", "publish", "8000-8999:80-1079,53:53/udp"),
        ("publish-addresses = ['127.0.0.0/8']", "publish", "127.0.0.9:80:80"),
        ("publish-addresses = ['0.0.0.0']", "publish", "80:80"),
        ("publish-ports = ['49152-65535']", "publish", "80"),
        ("static-ips = ['172.19.9.0/24']", "static-ip", "172.19.9.255"),
        ("ips = ['10.0.0.0/8']", "ip", "10.7.0.1/16"),
        ("mtus = ['1280-1500']", "mtu", "1280"),
        ("options = ['ipfile']", "ipfile", "net/ip"),
        ("rates = ['1mbit-9mbit']", "rate-out", "9mbit"),
        ("rates = ['1mbit-9mbit']", "network", "front:rate-in=2mbit,rate-out=1mbit"),
        ("aliases = ['db', '*.lan']", "alias", "db,a.b.lan"),
    ] {
        assert_eq!(said(text, name, value), "", "{text}");
    }
}

#[test]
fn nothing_slips_between_the_bounds() {
    for (text, name, value) in [
        ("publish-ports = ['8000-8999']", "publish", "8000:80,8999-9000:81-82"),
        ("publish-ports = ['8000-8999']", "publish", "7000-9999:7000-9999"),
        ("publish-ports = ['8000-8999']", "publish", "80"),
        ("publish-ports = ['8000-8499', '8500-8999']", "publish", "8499-8500:1-2"),
        ("publish-addresses = ['10.0.0.1']", "publish", "0.0.0.0:80:80"),
        ("aliases = ['*.lan']", "alias", "a.lan,lan"),
        ("ips = ['10.0.0.0/8']", "ip", "10.0.0.1/7"),
        ("ips = ['10.0.0.0/16']", "ip", "10.0.0.1/8"),
        ("rates = ['9mbit']", "rate-out", "1mbit,1gb"),
        ("rates = ['9mbit']", "network", "front:rate-in=2mbit,rate-out=10mbit"),
    ] {
        assert_ne!(said(text, name, value), "", "{text} and {value}");
    }
}

#[test]
fn a_mistake_in_the_policy_names_its_key() {
    for (text, problem) in [
        ("publish-port = ['1']", "unknown key\n  hint: did you mean publish-ports?"),
        ("options = ['publsh']", "unknown option 'publsh'\n  hint: did you mean publish?"),
        ("options = ['state-dir']", "no annotation may set state-dir"),
        ("publish-ports = '80'", "it must be a list of strings"),
        ("publish-ports = [80]", "it must be a list of strings"),
        ("publish-ports = ['90-80']", "'90-80': range 90-80 runs backwards"),
        ("static-ips = ['x']", "'x': "),
        ("mtus = ['1-2']", "mtu '1': "),
    ] {
        let error = policy(text).unwrap_err().to_string();
        let key = text.split(' ').next().unwrap_or_default();
        let operation = format!("use policy.{key} in configuration /f, line 2, column 1: ");
        assert!(error.starts_with(&operation) && error.contains(problem), "{error}");
    }
    let error = file::parse("policy = 'strict'", Path::new("/f")).unwrap_err().to_string();
    assert!(
        error.contains("use policy in configuration /f, line 1, column 1: it must be a table"),
        "{error}"
    );
}

#[test]
fn the_documented_example_is_strict_and_every_key_is_in_it() {
    let text = include_str!("../../../examples/netns-hook.toml");
    let policy = file::parse(text, Path::new("/f")).unwrap().policy;
    assert!(KEYS.iter().all(|key| text.contains(&format!("\n{key} = "))), "{text}");
    let allowed = |name: &str, value: &str| {
        let annotations = [(format!("org.netns.{name}"), value.to_owned())].into();
        crate::config::annotations(&annotations, &policy).is_ok()
    };
    assert!(allowed("publish", "127.0.0.1:8000:80") && allowed("static-ip", "172.19.9.7"));
    for (name, value) in [
        ("publish", "22:22"),
        ("publish", "8000:80"),
        ("bridge", "br0"),
        ("mtu", "1400"),
        ("ip", "10.0.0.1/8"),
    ] {
        assert!(!allowed(name, value), "{name}={value}");
    }
}

proptest! {
    #[test]
    fn what_is_allowed_is_allowed_port_by_port_and_address_by_address(
        ranges in proptest::collection::vec((1u16..100, 0u16..20), 0..4),
        nets in proptest::collection::vec((any::<[u8; 2]>(), 24u8..=32), 0..3),
        (first, count) in (1u16..100, 0u16..20), host in any::<[u8; 2]>(),
    ) {
        let ports = ranges.iter().map(|(first, more)| Ports { first: *first, last: first + more });
        let ip = |[a, b]: [u8; 2]| IpAddr::from([10, 0, a % 2, b]);
        let nets = nets.iter().map(|(host, prefix)| IpNetwork::new(ip(*host), *prefix).unwrap());
        let policy = Policy {
            publish_ports: Some(ports.collect()),
            publish_addresses: Some(nets.collect()),
            ..Policy::default()
        };
        let wanted = Ports { first, last: first + count };
        let text = format!("{}:{wanted}:{wanted}", ip(host));
        let allowed = policy.check_publish(&text.parse().unwrap()).is_ok();
        let by_port = (wanted.first..=wanted.last).all(|port| {
            policy.publish_ports.iter().flatten().any(|range| (range.first..=range.last).contains(&port))
        });
        let by_address = policy.publish_addresses.iter().flatten().any(|net| net.contains(ip(host)));
        prop_assert!(!allowed || (by_port && by_address));
        let without_address = policy.check_publish(&format!("{wanted}:{wanted}").parse().unwrap());
        prop_assert!(without_address.is_err(), "all addresses are more than some");
    }
}
