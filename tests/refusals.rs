//! What the planner refuses, word for word.

use ipnetwork::IpNetwork;
use netns::config::Options;
use netns::plan::{Host, Route};
use netns::store::index::Entry;
use netns::store::record::Survey;

use crate::plan::{after, attach, fresh_host, host_with, host_with_network, publish};

/// What the planner says to these options on this host.
fn refusal(options: Options, host: &Host, survey: &Survey) -> String {
    match attach(options, host, survey, "7f3a", 43) {
        Ok(plan) => format!("planned: {plan:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_bridge_that_cannot_be_one_is_refused() {
    let refused = |host: &Host| refusal(Options::default(), host, &Survey::default());
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
    let known = attach(Options::default(), &fresh_host(), &Survey::default(), "web", 42).unwrap();
    let options = Options { ip: Some("10.9.0.1/24".parse().unwrap()), ..Options::default() };
    assert_eq!(
        refusal(options, &host_with_network(), &after(&known)),
        format!("use bridge netns0: it carries 172.19.0.1/16, not 10.9.0.1/24{wrong}")
    );
}

#[test]
fn a_subnet_that_a_route_leads_to_is_refused() {
    for covering in ["172.16.0.0/12", "172.19.0.0/16", "172.19.128.0/24", "172.19.0.7/32"] {
        let route = Route { destination: covering.parse().unwrap(), link: "wire0".to_owned() };
        let host = Host { routes: vec![route], ..fresh_host() };
        assert_eq!(
            refusal(Options::default(), &host, &Survey::default()),
            format!(
                "use subnet 172.19.0.0/16 for bridge netns0: the host already has a route to {covering} \
                 by wire0\n  hint: pass --ip with an address of another subnet"
            )
        );
    }
    let default = Route { destination: "0.0.0.0/0".parse().unwrap(), link: "wire0".to_owned() };
    let own = Route { destination: "172.19.0.0/16".parse().unwrap(), link: "netns0".to_owned() };
    let host = Host { routes: vec![default, own], ..fresh_host() };
    assert!(attach(Options::default(), &host, &Survey::default(), "web", 42).is_ok());
}

#[test]
fn an_address_or_a_port_that_is_taken_is_refused_with_its_holder() {
    let network = || Options { ip: Some("172.19.0.1/29".parse().unwrap()), ..Options::default() };
    let fixed = |address: &str| Options { static_ip: Some(address.parse().unwrap()), ..network() };
    let mut survey = Survey::default();
    for (host, pid) in [(2, 2), (3, 3), (4, 4), (5, 5)] {
        let options = fixed(&format!("172.19.0.{host}"));
        let options =
            if host == 4 { Options { publish: publish("8080:80").publish, ..options } } else { options };
        let id = if host == 4 { "web".to_owned() } else { format!("c{host}") };
        let plan = attach(options, &fresh_host(), &survey, &id, pid).unwrap();
        survey.networks = plan.network.into_iter().collect();
        survey.containers.push(Entry::from(&plan.record));
    }
    let refused = |options, survey: &Survey| refusal(options, &fresh_host(), survey);
    assert_eq!(
        refused(fixed("172.19.0.4"), &survey),
        "use static address 172.19.0.4 for container 7f3a: container web has it"
    );
    assert_eq!(
        refused(Options { publish: publish("8080:8080").publish, ..network() }, &survey),
        "publish 0.0.0.0:8080/tcp for container 7f3a: already published by container web (172.19.0.4:80)"
    );
    assert_eq!(
        refused(Options { publish: publish("90:90 90:91").publish, ..network() }, &survey),
        "publish 0.0.0.0:90/tcp for container 7f3a: it is asked for twice"
    );
    let last = attach(network(), &fresh_host(), &survey, "c6", 6).unwrap();
    assert_eq!(last.record.addresses, ["172.19.0.6/29".parse::<IpNetwork>().unwrap()]);
    survey.containers.push(Entry::from(&last.record));
    assert_eq!(
        refused(network(), &survey),
        "lease an address in 172.19.0.0/29 for container 7f3a: all 5 are taken\
         \n  hint: `netns ls` shows by whom; `netns detach ID` frees one"
    );
}

#[test]
fn an_address_that_the_bridge_itself_has_is_leased_to_nobody() {
    let mut host = host_with_network();
    let foreign = ["172.19.0.2/32", "172.19.0.3/16"].map(|address| address.parse::<IpNetwork>().unwrap());
    host.bridge.as_mut().unwrap().addresses.extend(foreign);
    let plan = attach(Options::default(), &host, &Survey::default(), "web", 42).unwrap();
    assert_eq!(plan.record.addresses, ["172.19.0.4/16".parse::<IpNetwork>().unwrap()]);
    let options = Options { static_ip: Some("172.19.0.3".parse().unwrap()), ..Options::default() };
    assert_eq!(
        refusal(options, &host, &Survey::default()),
        "use static address 172.19.0.3 for container 7f3a: bridge netns0 has it"
    );
}
