//! `resolv.conf` and `hosts` in a container: what they say, and whose they are.

use std::fs;

use serde_json::json;

use super::{HOSTS, bundle, inside, manifest, mounts, see, start};
use crate::common::{NETNS, World, stderr};

/// Makes `text` the world's `/etc/resolv.conf`.
fn host_resolver(world: &World, text: &str) {
    let file = world.dir.join("host-resolv.conf");
    let first = !file.exists();
    fs::write(&file, text).unwrap();
    if first {
        world.sh(&format!("mount --bind {} /etc/resolv.conf", file.display()));
    }
}

#[test]
fn what_is_asked_for_is_what_a_container_reads() {
    let Some(mut world) = World::new() else { return };
    host_resolver(&world, "nameserver 10.0.0.53\nsearch corp.example\noptions edns0\n");
    let options = [("dns", "1.1.1.1,9.9.9.9"), ("dns-search", "a.example,lan"), ("dns-option", "ndots:2")];
    let own = start(&mut world, "own", &options);
    let text = "nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a.example lan\noptions ndots:2\n";
    assert_eq!(see(own, "cat /etc/resolv.conf"), text);
    let half = start(&mut world, "half", &[("dns", "1.1.1.1"), ("dns-search", ".")]);
    assert_eq!(see(half, "cat /etc/resolv.conf"), "nameserver 1.1.1.1\noptions edns0\n");
    let other = start(&mut world, "other", &[]);
    let text = "nameserver 10.0.0.53\nsearch corp.example\noptions edns0\n";
    assert_eq!(see(other, "cat /etc/resolv.conf"), text, "one's own is nobody else's");
    world.runc_delete("own");
    world.runc_delete("half");
    assert_eq!(world.sh("ls /run/netns-hook/names/netns0"), "hosts\nlock\nresolv.conf\n");
}

#[test]
fn flags_say_the_same_as_annotations() {
    let Some(mut world) = World::new() else { return };
    let args = ["netns", "--dns=1.1.1.1", "--dns=9.9.9.9", "--dns-search=lan", "--alias=db"];
    let web = bundle(&world, "web", &[], |config| {
        config["hooks"]["createRuntime"] = json!([{"path": NETNS, "args": args}]);
    });
    let web = world.runc_start("web", &web);
    let text = see(web, "cat /etc/resolv.conf");
    assert!(text.starts_with("nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch lan\n"), "{text}");
    assert!(see(web, "cat /etc/hosts").contains("172.19.0.2 web db "));
    let seen = world.netns_ok(&["exec", "web", "cat", "/etc/resolv.conf"], "");
    assert_eq!(seen, text, "a program of the host in its network asks whom it asks");
}

#[test]
fn a_stub_of_the_hosts_is_not_asked_but_whom_it_asks() {
    let Some(mut world) = World::new() else { return };
    host_resolver(&world, "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n");
    world.sh("mkdir -p /run/systemd/resolve");
    fs::write("/run/systemd/resolve/resolv.conf", "nameserver 10.0.0.53\nnameserver fd00::53\nsearch lan\n")
        .unwrap();
    let web = start(&mut world, "web", &[]);
    assert_eq!(see(web, "cat /etc/resolv.conf"), "nameserver 10.0.0.53\nsearch lan\n");
    // The host moves to another network.
    fs::write("/run/systemd/resolve/resolv.conf", "nameserver 10.9.9.9\n").unwrap();
    world.netns_ok(&["create"], "");
    assert_eq!(see(web, "cat /etc/resolv.conf"), "nameserver 10.9.9.9\n", "who runs sees it");
}

#[test]
fn where_the_host_knows_no_server_the_image_keeps_its_own() {
    let Some(mut world) = World::new() else { return };
    host_resolver(&world, "nameserver 127.0.0.1\nnameserver ::1\n");
    let web = bundle(&world, "web", &[], |_| {});
    fs::write(web.join("rootfs/etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
    let web = world.runc_start("web", &web);
    assert_eq!(see(web, "cat /etc/resolv.conf"), "nameserver 192.0.2.1\n");
    assert!(see(web, "cat /etc/hosts").contains("172.19.0.2 web "));
}

#[test]
fn no_dns_leaves_the_files_alone() {
    let Some(mut world) = World::new() else { return };
    let web = bundle(&world, "web", &[("no-dns", "true")], |_| {});
    fs::write(web.join("rootfs/etc/hosts"), "192.0.2.1 mine\n").unwrap();
    let process = world.runc_start("web", &web);
    assert_eq!(see(process, "cat /etc/hosts; ls /etc"), "192.0.2.1 mine\nhosts\n");
    let db = start(&mut world, "db", &[]);
    assert!(see(db, "cat /etc/hosts").contains("172.19.0.2 web "), "it still has a name");
}

#[test]
fn a_file_that_the_engine_mounts_is_covered_only_when_asked() {
    let Some(mut world) = World::new() else { return };
    let mut run = |id: &str, options: &[(&str, &str)]| {
        let bundle = bundle(&world, id, options, |config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            for name in ["hosts", "resolv.conf"] {
                let source = format!("/run/test/engines-{name}");
                fs::write(&source, format!("# the engine's {name}\n")).unwrap();
                mounts.push(json!({"destination": format!("/etc/{name}"), "source": source,
                    "type": "bind", "options": ["bind"]}));
            }
        });
        let process = world.runc_start(id, &bundle);
        (see(process, "cat /etc/hosts"), see(process, "cat /etc/resolv.conf"))
    };
    let engines = ("# the engine's hosts\n".to_owned(), "# the engine's resolv.conf\n".to_owned());
    assert_eq!(run("plain", &[]), engines);
    let (hosts, resolver) = run("named", &[("alias", "db")]);
    assert!(hosts.contains("172.19.0.3 named db "), "{hosts}");
    assert_eq!(resolver, engines.1, "an alias asks for names alone");
    let (hosts, resolver) = run("asked", &[("dns", "1.1.1.1")]);
    assert!(hosts.contains("172.19.0.4 asked ") && resolver.starts_with("nameserver 1.1.1.1\n"));
    for name in ["hosts", "resolv.conf"] {
        let source = fs::read_to_string(format!("/run/test/engines-{name}")).unwrap();
        assert_eq!(source, format!("# the engine's {name}\n"), "its own files stay as they were");
    }
}

/// Gives a container all that root has.
fn privileged(config: &mut serde_json::Value) {
    let all = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_NET_RAW", "CAP_FOWNER", "CAP_CHOWN"];
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(all);
    }
}

#[test]
fn a_container_cannot_write_what_others_read() {
    let Some(mut world) = World::new() else { return };
    let web = bundle(&world, "web", &[], |config| {
        privileged(config);
        config["process"]["capabilities"]["effective"] = json!(["CAP_DAC_OVERRIDE", "CAP_FOWNER"]);
    });
    world.runc_start("web", &web);
    let before = fs::read(HOSTS).unwrap();
    for command in ["echo 6.6.6.6 db >>", "chmod 666", "truncate -s 0", "rm -f", "mv /etc/passwd"] {
        let command = format!("touch /etc/passwd; PATH=/bin; busybox sh -c '{command} /etc/hosts'");
        let output = world.runc(&["exec", "web", "/bin/busybox", "sh", "-c", &command]);
        assert!(!output.status.success(), "{command}");
        assert_eq!(fs::read(HOSTS).unwrap(), before, "{command}");
    }
}

#[test]
fn what_a_container_mounts_over_a_file_of_ours_stays_in_it() {
    let Some(mut world) = World::new() else { return };
    world.sh("mount --make-shared /run");
    let before = mounts(&world);
    let web = bundle(&world, "web", &[], privileged);
    let process = world.runc_start("web", &web);
    assert_eq!(mounts(&world), before, "what we mount");
    let command =
        "echo 6.6.6.6 db >/etc/own && busybox mount -o bind /etc/own /etc/hosts && busybox cat /etc/hosts";
    let output = world.runc(&["exec", "web", "/bin/busybox", "sh", "-c", command]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "6.6.6.6 db\n", "{}", stderr(&output));
    assert_eq!(see(process, "cat /etc/hosts"), "6.6.6.6 db\n");
    assert_eq!(mounts(&world), before, "what it mounts");
    assert!(fs::read_to_string(HOSTS).unwrap().contains("172.19.0.2 web "));
}

#[test]
fn no_mount_shows_on_the_host_though_the_roots_are_to_be_shared() {
    let Some(mut world) = World::new() else { return };
    let web = bundle(&world, "web", &[], |config| {
        config["linux"]["rootfsPropagation"] = json!("shared");
    });
    world.sh(&format!("mount --bind {0} {0} && mount --make-shared {0}", web.join("rootfs").display()));
    let before = mounts(&world);
    let process = world.runc_start("web", &web);
    assert!(see(process, "cat /etc/hosts").contains("172.19.0.2 web "));
    assert_eq!(mounts(&world), before);
    world.runc_delete("web");
}

#[test]
fn everybody_inside_may_read_them_whatever_the_umask() {
    let Some(mut world) = World::new() else { return };
    world.sh(&format!("umask 077; {NETNS} create"));
    let web = bundle(&world, "web", &[("dns", "1.1.1.1")], |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["capabilities"] = json!({});
    });
    world.runc_start("web", &web);
    let output = world.runc(&["exec", "web", "/bin/busybox", "cat", "/etc/hosts", "/etc/resolv.conf"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("172.19.0.2 web ") && text.contains("nameserver 1.1.1.1\n"), "{}", stderr(&output));
}

#[test]
fn a_container_with_a_user_namespace_has_names() {
    for runtime in ["runc", "crun"] {
        let Some(world) = World::new() else { return };
        let Some(program) = crate::engines::find(runtime) else { continue };
        let web = bundle(&world, "web", &[("alias", "db")], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            for map in ["uidMappings", "gidMappings"] {
                config["linux"][map] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            }
        });
        world.sh("chmod 755 /run/test /run/test/runc; chown -R 100000:100000 /run/test/runc/web/rootfs");
        let run = format!("{} --root /run/test/{runtime}-root", program.display());
        let output = world.sh_logged(&format!("{run} run -d -b {} web", web.display()));
        assert!(output.status.success(), "{runtime}: {}", stderr(&output));
        let ask = "busybox ping -c 1 -W 1 db && busybox cat /etc/hosts; echo x >>/etc/hosts; busybox umount /etc/hosts";
        let said = world.try_sh(&format!("{run} exec web /bin/busybox sh -c '{ask}' </dev/null"));
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(text.contains("172.19.0.2 web db "), "{runtime}: {text}{}", stderr(&said));
        assert!(fs::read_to_string(HOSTS).unwrap().ends_with(" \n"), "{runtime}: nothing is added");
        world.sh_logged(&format!("{run} delete --force web"));
        assert!(!fs::read_to_string(HOSTS).unwrap().contains("web"), "{runtime}");
    }
}

#[test]
fn a_read_only_root_has_names_where_its_image_has_the_files() {
    let Some(mut world) = World::new() else { return };
    for (id, has_files) in [("with", true), ("without", false)] {
        let web = bundle(&world, id, &[], |config| {
            config["root"]["readonly"] = json!(true);
            let dev = json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"});
            config["mounts"].as_array_mut().unwrap().push(dev);
        });
        let rootfs = web.join("rootfs");
        if has_files {
            for name in ["hosts", "resolv.conf"] {
                fs::write(rootfs.join("etc").join(name), "").unwrap();
            }
        }
        world.sh(&format!("mount --bind {0} {0} && mount -o remount,bind,ro {0}", rootfs.display()));
        let before = manifest(&world, &rootfs);
        let process = world.runc_start(id, &web);
        assert_eq!(manifest(&world, &rootfs), before, "{id}: the image");
        let named = see(process, "cat /etc/hosts 2>/dev/null; true").contains(" with ");
        assert_eq!(named, has_files, "{id}");
        assert!(!inside(process, "echo x >>/etc/hosts").status.success(), "{id}");
        world.runc_delete(id);
    }
}
