//! What the planner refuses, word for word.

use ipnetwork::IpNetwork;
use netns::config::Options;
use netns::model::observed::Host;
use netns::plan::Plan;

use crate::common::{World, state, stderr};
use crate::plan::{
    Known, after, attach, fresh_host, host_with, host_with_network, host_with_routes, publish, route,
};

/// What the planner says to these options on this host.
fn refusal(options: Options, host: &Host, known: &Known) -> String {
    match attach(options, host, known, "7f3a", 43) {
        Ok(plan) => format!("planned: {plan:?}"),
        Err(error) => error.to_string(),
    }
}

fn addresses(plan: &Plan) -> Vec<String> {
    plan.record.addresses().map(|address| address.to_string()).collect()
}

#[test]
fn a_bridge_that_cannot_be_one_is_refused() {
    let refused = |host: &Host| refusal(Options::default(), host, &Known::default());
    let other = "\n  hint: remove it, or pass --bridge with another name";
    let wrong = "\n  hint: pass --ip with its address, or --bridge with another name";
    assert_eq!(
        refused(&host_with(Some("veth"), 1500, true, None)),
        format!("use bridge netns0: it exists but is a veth{other}")
    );
    assert_eq!(
        refused(&host_with(None, 1500, true, None)),
        format!("use bridge netns0: it exists but is a physical interface{other}")
    );
    assert_eq!(
        refused(&host_with(Some("bridge"), 1500, true, Some("10.9.0.1/24"))),
        format!("use bridge netns0: it carries 10.9.0.1/24, not 172.19.0.1/16{wrong}")
    );
    let known = attach(Options::default(), &fresh_host(), &Known::default(), "web", 42).unwrap();
    let options = Options { ip: vec!["10.9.0.1/24".parse().unwrap()], ..Options::default() };
    assert_eq!(
        refusal(options, &host_with_network(), &after(&known)),
        format!("use bridge netns0: it carries 172.19.0.1/16, not 10.9.0.1/24{wrong}")
    );
}

#[test]
fn a_subnet_that_a_route_leads_to_is_refused() {
    for covering in ["172.16.0.0/12", "172.19.0.0/16", "172.19.128.0/24", "172.19.0.7/32"] {
        let host = host_with_routes(vec![route(covering, "wire0")]);
        assert_eq!(
            refusal(Options::default(), &host, &Known::default()),
            format!(
                "use subnet 172.19.0.0/16 for bridge netns0: the host already has a route to {covering} \
                 by wire0\n  hint: pass --ip with an address of another subnet"
            )
        );
    }
    let host = host_with_routes(vec![route("0.0.0.0/0", "wire0"), route("172.19.0.0/16", "netns0")]);
    assert!(attach(Options::default(), &host, &Known::default(), "web", 42).is_ok());
}

#[test]
fn an_address_or_a_port_that_is_taken_is_refused_with_its_holder() {
    let network = || Options { ip: vec!["172.19.0.1/29".parse().unwrap()], ..Options::default() };
    let fixed = |address: &str| Options { static_ip: vec![address.parse().unwrap()], ..network() };
    let mut known = Known::default();
    for (host, pid) in [(2, 2), (3, 3), (4, 4), (5, 5)] {
        let options = fixed(&format!("172.19.0.{host}"));
        let options =
            if host == 4 { Options { publish: publish("8080:80").publish, ..options } } else { options };
        let id = if host == 4 { "web".to_owned() } else { format!("c{host}") };
        let plan = attach(options, &fresh_host(), &known, &id, pid).unwrap();
        known.networks = after(&plan).networks;
        known.containers.push(plan.record);
    }
    let refused = |options, known: &Known| refusal(options, &fresh_host(), known);
    assert_eq!(
        refused(fixed("172.19.0.4"), &known),
        "use static address 172.19.0.4 for container 7f3a: container web has it"
    );
    assert_eq!(
        refused(Options { publish: publish("8080:8080").publish, ..network() }, &known),
        "publish 0.0.0.0:8080/tcp for container 7f3a: container web publishes it"
    );
    assert_eq!(
        refused(Options { publish: publish("90:90 90:91").publish, ..network() }, &known),
        "publish 0.0.0.0:90/tcp for container 7f3a: it is asked for twice"
    );
    let last = attach(network(), &fresh_host(), &known, "c6", 6).unwrap();
    assert_eq!(addresses(&last), ["172.19.0.6/29"]);
    known.containers.push(last.record);
    assert_eq!(
        refused(network(), &known),
        "lease an address in 172.19.0.0/29 for container 7f3a: all 5 are taken\
         \n  hint: `netns ls` shows by whom; `netns detach ID` frees one"
    );
}

#[test]
fn an_address_that_the_bridge_itself_has_is_leased_to_nobody() {
    let mut host = host_with_network();
    let foreign = ["172.19.0.2/32", "172.19.0.3/16"].map(|address| address.parse::<IpNetwork>().unwrap());
    host.networks[0].bridge.as_mut().unwrap().addresses.extend(foreign);
    let plan = attach(Options::default(), &host, &Known::default(), "web", 42).unwrap();
    assert_eq!(addresses(&plan), ["172.19.0.4/16"]);
    let options = Options { static_ip: vec!["172.19.0.3".parse().unwrap()], ..Options::default() };
    assert_eq!(
        refusal(options, &host, &Known::default()),
        "use static address 172.19.0.3 for container 7f3a: bridge netns0 has it"
    );
}

#[test]
fn whoever_has_a_port_or_an_address_is_named_with_where_it_leads() {
    let Some(mut world) = World::new() else { return };
    let (first, second) = (world.process(), world.process());
    world.attach_ok("web", first, &[("publish", "8080:80")]);
    let published = "publish 0.0.0.0:8080/tcp for container db: already published by container web";
    for (asked, said) in [
        (("publish", "8080:8080"), format!("{published} (172.19.0.2:80)")),
        (
            ("static-ip", "172.19.0.2"),
            "use static address 172.19.0.2 for container db: container web has it".to_owned(),
        ),
    ] {
        let refused = world.netns(&["plan"], &state("db", "creating", Some(second.pid), &[asked]));
        assert_eq!(stderr(&refused), format!("netns: {said}\n"));
    }
}
