//! Rules: ours gone or twice, and others' that drop. Others' are made as their programs make
//! them, without the programs.

use super::{Case, assert_healthy, only, run_remedy, ward};
use crate::common::scene::{Scene, ask};
use crate::common::traffic::serve_tcp;
use crate::common::{World, on_both_variants, wait_for};

on_both_variants! {
    rules_that_somebody_flushed,
    a_guard_that_somebody_flushed,
    a_policy_of_the_other_variant,
    docker_on_the_other_variant,
    ufw_on_the_other_variant,
    docker_in_front_of_us,
    ufw_in_front_of_us,
    firewalld,
    a_chain_of_nft_that_drops_by_policy,
    a_chain_of_nft_that_drops_by_a_rule,
    a_chain_of_nft_that_drops_one_port,
    bridged_packets_that_somebody_drops,
    a_port_that_another_rule_leads_elsewhere,
    a_port_that_the_other_variant_leads_elsewhere,
    a_port_that_a_rule_of_nft_leads_elsewhere,
}

fn reaches_out(scene: &Scene) -> bool {
    scene.web.try_sh("busybox ping -c 1 -W 1 10.0.0.2").status.success()
}

fn is_reached(scene: &Scene) -> bool {
    ask(Some(scene.other), "10.0.0.1", "8080/tcp") == "web"
}

/// The program of the variant that is not in use.
fn other_variant(world: &World) -> &'static str {
    let nft = world.sh("iptables --version").contains("nf_tables");
    if nft { "iptables-legacy" } else { "iptables-nft" }
}

fn rules_that_somebody_flushed(world: World) {
    let scene = ward(world, "8080:80");
    let flows = || reaches_out(&scene) && is_reached(&scene);
    let mut case = Case { world: &scene.world, check: "rules-missing", args: &[], harm: "", flows };
    for harm in [
        "for t in raw nat filter; do iptables -t $t -F; iptables -t $t -X; done",
        "iptables -t nat -F NETNS-MASQUERADE",
    ] {
        case.harm = harm;
        assert_eq!(case.is_remedied()["remedy"], "netns reload");
        case.is_fixed();
    }
    case.harm = "iptables -P FORWARD DROP; iptables -F FORWARD";
    case.is_remedied();
}

fn a_guard_that_somebody_flushed(world: World) {
    world.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    let scene = ward(world, "8080:80");
    scene.other.sh("ip route add 172.19.0.0/16 via 10.0.0.1");
    let case = Case {
        world: &scene.world,
        check: "rules-missing",
        args: &[],
        harm: "iptables -t raw -F NETNS-GUARD",
        flows: || ask(Some(scene.other), "172.19.0.2", "81/tcp").is_empty(),
    };
    let finding = case.is_remedied();
    assert!(finding["why"].as_str().unwrap().contains("neighbours on the wire reach what is not published"));
    case.is_fixed();
}

/// The others' rules keep containers from the world, and the world from their ports; the
/// culprit is called `name`.
fn drops(scene: &Scene, harm: &str, name: &str) {
    let case = Case {
        world: &scene.world,
        check: "forward-dropped",
        args: &[],
        harm,
        flows: || reaches_out(scene) && is_reached(scene),
    };
    let finding = case.is_remedied();
    let why = finding["why"].as_str().unwrap();
    assert!(why.starts_with(name), "{why}");
    assert_eq!(finding["fixable"], false, "it is somebody else's");
}

fn a_policy_of_the_other_variant(world: World) {
    let scene = ward(world, "8080:80");
    let other = other_variant(&scene.world);
    let name = format!(
        "the policy of chain FORWARD of {other} -t filter drops it: containers on netns0 reach nobody"
    );
    drops(&scene, &format!("{other} -P FORWARD DROP"), &name);
}

fn docker_on_the_other_variant(world: World) {
    let scene = ward(world, "8080:80");
    let other = other_variant(&scene.world);
    let docker = format!(
        "for c in DOCKER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2 DOCKER-USER; do {other} -N $c; done; \
         {other} -A DOCKER-USER -j RETURN; {other} -A FORWARD -j DOCKER-USER; \
         {other} -A FORWARD -j DOCKER-ISOLATION-STAGE-1; {other} -A DOCKER-ISOLATION-STAGE-1 -j RETURN; \
         {other} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
         {other} -A FORWARD -o docker0 -j DOCKER; {other} -A FORWARD -i docker0 ! -o docker0 -j ACCEPT; \
         {other} -P FORWARD DROP"
    );
    drops(&scene, &docker, "Docker: the policy of chain FORWARD");
    assert!(
        scene.world.sh(&format!("{other} -S DOCKER-USER")).contains("-i netns0"),
        "where Docker leaves it"
    );
}

fn ufw(program: &str, verb: &str) -> String {
    format!(
        "for c in ufw-before-forward ufw-user-forward ufw-after-forward ufw-reject-forward; do {program} -N $c; done; \
         {program} -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; \
         {program} -A ufw-before-forward -j ufw-user-forward; {program} -A ufw-reject-forward -j REJECT; \
         {program} {verb} FORWARD -j ufw-reject-forward; {program} {verb} FORWARD -j ufw-before-forward; \
         {program} -P FORWARD DROP"
    )
}

fn ufw_on_the_other_variant(world: World) {
    let scene = ward(world, "8080:80");
    drops(&scene, &ufw(other_variant(&scene.world), "-A"), "ufw: the rule \"-j REJECT");
}

fn ufw_in_front_of_us(world: World) {
    let scene = ward(world, "8080:80");
    drops(&scene, &ufw("iptables", "-I"), "ufw: the rule \"-j REJECT");
}

fn docker_in_front_of_us(world: World) {
    let scene = ward(world, "8080:80");
    let harm = "iptables -N DOCKER-USER; iptables -A DOCKER-USER -i wire0 -j DROP; iptables -I FORWARD -j DOCKER-USER";
    drops(&scene, harm, "Docker: the rule \"-i wire0 -j DROP\" in chain DOCKER-USER");
}

fn firewalld(world: World) {
    let scene = ward(world, "8080:80");
    let rule = |chain: &str, rule: &str| format!("nft add rule inet firewalld {chain} {rule}; ");
    let chains = [
        "filter_FORWARD_POLICIES_pre",
        "filter_FORWARD_IN_ZONES",
        "filter_FORWARD_OUT_ZONES",
        "filter_FWDI_public",
        "filter_FWDI_public_deny",
        "filter_FWDO_public",
    ];
    let mut harm = "nft add table inet firewalld; \
        nft add chain inet firewalld filter_FORWARD '{ type filter hook forward priority filter + 10; policy accept; }'; "
        .to_owned();
    chains.iter().for_each(|chain| harm.push_str(&format!("nft add chain inet firewalld {chain}; ")));
    harm += &rule("filter_FORWARD", "ct state { established, related } accept");
    harm += &rule("filter_FORWARD", "ct status dnat accept");
    harm += &rule("filter_FORWARD", "iifname lo accept");
    harm += &rule(
        "filter_FORWARD",
        "ip6 daddr { ::/96, ::ffff:0.0.0.0/96 } reject with icmpv6 type addr-unreachable",
    );
    harm += &rule("filter_FORWARD", "jump filter_FORWARD_POLICIES_pre");
    harm += &rule("filter_FORWARD", "jump filter_FORWARD_IN_ZONES");
    harm += &rule("filter_FORWARD", "jump filter_FORWARD_OUT_ZONES");
    harm += &rule("filter_FORWARD", "ct state { invalid } drop");
    harm += &rule("filter_FORWARD", "reject with icmpx type admin-prohibited");
    harm += &rule("filter_FORWARD_IN_ZONES", "iifname wire0 goto filter_FWDI_public");
    harm += &rule("filter_FORWARD_IN_ZONES", "goto filter_FWDI_public");
    harm += &rule("filter_FORWARD_OUT_ZONES", "oifname wire0 goto filter_FWDO_public");
    harm += &rule("filter_FORWARD_OUT_ZONES", "goto filter_FWDO_public");
    harm += &rule("filter_FWDI_public", "jump filter_FWDI_public_deny");
    harm += &rule("filter_FWDI_public", "meta l4proto { icmp, ipv6-icmp } accept");
    let case = Case {
        world: &scene.world,
        check: "forward-dropped",
        args: &[],
        harm: &harm,
        flows: || {
            serve_once(&scene);
            ask(Some(scene.web), "10.0.0.2", "7777/tcp") == "abroad"
        },
    };
    let finding = case.is_remedied();
    let why = finding["why"].as_str().unwrap();
    assert!(why.starts_with("firewalld: the rule \"handle "), "{why}");
    assert!(
        finding["hint"]
            .as_str()
            .unwrap()
            .contains("firewall-cmd --permanent --zone=trusted --add-interface=netns0")
    );
    assert_eq!(finding["fixable"], false);
}

/// A server on the other host, once.
fn serve_once(scene: &Scene) {
    if scene.other.sh("ss -Hltn sport = :7777").is_empty() {
        serve_tcp(scene.other, 7777, "abroad");
    }
}

fn a_chain_of_nft_that_drops_by_policy(world: World) {
    let scene = ward(world, "8080:80");
    let harm = "nft add table inet own; nft add chain inet own through '{ type filter hook forward priority -5; policy drop; }'";
    drops(&scene, harm, "the policy of chain inet own through drops it");
}

fn a_chain_of_nft_that_drops_by_a_rule(world: World) {
    let scene = ward(world, "8080:80");
    let harm = "nft add table ip own; nft add chain ip own through '{ type filter hook forward priority 50; }'; \
                nft add chain ip own lan; nft add rule ip own through jump lan; \
                nft add rule ip own lan ip saddr 172.16.0.0/12 counter drop; nft add rule ip own lan oifname 'netns*' reject";
    drops(&scene, harm, "the rule \"handle ");
}

fn a_chain_of_nft_that_drops_one_port(world: World) {
    let scene = ward(world, "8080:80,8181:81");
    let case = Case {
        world: &scene.world,
        check: "forward-dropped",
        args: &[],
        harm: "nft add table inet own; nft add chain inet own through '{ type filter hook forward priority 0; }'; \
               nft add rule inet own through tcp dport { 80, 8000-8100 } iifname wire0 drop",
        flows: || is_reached(&scene),
    };
    let finding = case.is_remedied();
    let why = finding["why"].as_str().unwrap();
    assert!(why.ends_with("nobody on another host reaches 0.0.0.0:8080->80/tcp of container web"), "{why}");
}

fn bridged_packets_that_somebody_drops(world: World) {
    let scene = ward(world, "8080:80");
    scene.world.set_bridge_netfilter(true);
    let case = Case {
        world: &scene.world,
        check: "bridge-netfilter",
        args: &[],
        harm: "nft add table inet own; nft add chain inet own through '{ type filter hook forward priority 5; policy drop; }'; \
               nft add rule inet own through ct state established,related accept; nft add rule inet own through ct status dnat accept; \
               nft add rule inet own through iifname netns0 oifname wire0 accept",
        flows: || ask(Some(scene.beside), "172.19.0.2", "81/tcp") == "secret",
    };
    let finding = case.is_remedied();
    assert!(
        finding["why"].as_str().unwrap().ends_with("containers on netns0 do not reach each other"),
        "{finding:#}"
    );
    assert_eq!(finding["fixable"], false);
    scene.world.set_bridge_netfilter(false);
    assert_healthy(&scene.world);
}

fn a_port_that_another_rule_leads_elsewhere(world: World) {
    let scene = ward(world, "8080:80");
    let case = Case {
        world: &scene.world,
        check: "port-led-elsewhere",
        args: &[],
        harm: "iptables -t nat -N DOCKER; iptables -t nat -I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; \
               iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
        flows: || is_reached(&scene),
    };
    let finding = case.is_remedied();
    assert_eq!(finding["fixable"], false);
}

fn a_port_that_the_other_variant_leads_elsewhere(world: World) {
    let scene = ward(world, "8080:80");
    let other = other_variant(&scene.world);
    let harm = format!(
        "{other} -t nat -A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    );
    let flows = || is_reached(&scene);
    let case = Case { world: &scene.world, check: "port-led-elsewhere", args: &["web"], harm: &harm, flows };
    let finding = case.is_remedied();
    assert!(
        finding["remedy"].as_str().unwrap().starts_with(&format!("{other} -t nat -D PREROUTING ")),
        "{finding:#}"
    );
}

fn a_port_that_a_rule_of_nft_leads_elsewhere(world: World) {
    let scene = ward(world, "8080:80");
    let case = Case {
        world: &scene.world,
        check: "port-led-elsewhere",
        args: &[],
        harm: "nft add table ip own; nft add chain ip own pre '{ type nat hook prerouting priority -110; }'; \
               nft add rule ip own pre tcp dport 8000-8100 redirect to :9",
        flows: || is_reached(&scene),
    };
    case.is_remedied();
}

#[test]
fn rules_of_ours_that_the_other_variant_still_has() {
    for (old, new) in [("legacy", "nft"), ("nft", "legacy")] {
        let Some(world) = World::new() else { return };
        world.use_iptables(old);
        let mut scene = ward(world, "7070:80");
        let third = scene.world.process();
        let flows = || ask(Some(scene.other), "10.0.0.1", "7070/tcp") == "host";
        serve_here(7070);
        assert!(!flows(), "the port is the container's");
        scene.world.use_iptables(new);
        scene.world.netns_ok(&["reload"], "");
        scene.world.detach_ok("web");
        scene.world.attach_ok("third", third, &[("publish", "8080:80")]);
        serve_tcp(third, 80, "third");
        assert!(!flows(), "{old} goes on although the port is given back");
        scene.world.sh(&format!("iptables-{old} -A FORWARD -s 192.0.2.1 -j ACCEPT"));
        let both = scene.world.sh(&format!("iptables-{old}-save"));
        for by_fix in [false, true] {
            let finding = only(&scene.world, "two-variants", &[]);
            if by_fix {
                assert_eq!(only(&scene.world, "two-variants", &["--fix"])["fixed"], true);
            } else {
                run_remedy(&scene.world, &finding);
            }
            wait_for("the host's own server", flows);
            assert_healthy(&scene.world);
            let left = scene.world.sh(&format!("iptables-{old}-save"));
            assert!(left.contains("-A FORWARD -s 192.0.2.1/32 -j ACCEPT"), "{left}");
            if !by_fix {
                scene.world.sh(&format!("iptables-{old}-restore <<'END'\n{both}END"));
            }
        }
    }
}

#[test]
fn networks_that_may_reach_each_other_and_are_on_two_firewalls() {
    let Some(mut world) = World::new() else { return };
    world.neighbour();
    world.sh(super::UPLINK);
    let network = |name: &str, number: u8, firewall: &str| {
        format!(
            "[network.{name}]\nsubnets = ['10.{number}.0.1/24', 'fd00:{number}::1/64']\nisolate = 'normal'\n\
             firewall = '{firewall}'\n"
        )
    };
    let text = network("front", 8, "iptables") + &network("back", 9, "nftables");
    std::fs::write("/run/test/netns.toml", text).unwrap();
    world.flags.push("--config=/run/test/netns.toml".to_owned());
    let (front, back) = (world.process(), world.process());
    world.attach_ok("front", front, &[("network", "front"), ("ipfile", "front")]);
    world.attach_ok("back", back, &[("network", "back"), ("ipfile", "back")]);
    serve_tcp(back, 80, "back");
    let reached = || ["10.9.0.2", "fd00:9::2"].map(|address| ask(Some(front), address, "80/tcp"));
    assert_eq!(reached(), ["", ""]);
    let finding = only(&world, "two-firewalls", &[]);
    let why = "since front has its rules in iptables and back in nftables";
    assert!(finding["why"].as_str().unwrap().ends_with(why), "{finding:#}");
    run_remedy(&world, &finding);
    wait_for("an answer by both families", || reached() == ["back", "back"]);
    assert_healthy(&world);
}

/// A server of the host's own.
fn serve_here(port: u16) {
    let server = std::net::TcpListener::bind(("0.0.0.0", port)).expect("listen");
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let _ = stream.and_then(|mut stream| std::io::Write::write_all(&mut stream, b"host"));
        }
    });
}

#[test]
fn a_host_without_iptables() {
    let Some(world) = World::new() else { return };
    world.use_iptables("nft");
    let mut scene = ward(world, "8080:80");
    let third = scene.world.process();
    scene.world.sh("mkdir /run/test/bin /run/test/kept && mv /etc/alternatives/iptables* /run/test/kept");
    let attaches = || scene.world.attach("third", third, &[("publish", "7070:80")]).status.success();
    assert!(!attaches());
    let finding = only(&scene.world, "iptables-missing", &[]);
    assert_eq!(finding["remedy"], "apt-get install -y iptables");
    // As the package manager of this world does it.
    let install = "#!/bin/sh\n[ \"$*\" = 'install -y iptables' ] && mv /run/test/kept/* /etc/alternatives/\n";
    std::fs::write("/run/test/bin/apt-get", install).unwrap();
    scene.world.sh("chmod +x /run/test/bin/apt-get && mount --bind /run/test/bin/apt-get /usr/bin/apt-get");
    run_remedy(&scene.world, &finding);
    assert_healthy(&scene.world);
    serve_tcp(third, 80, "third");
    assert!(attaches());
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "7070/tcp"), "third");
    assert_healthy(&scene.world);
}
