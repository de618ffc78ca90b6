//! A world for each test: network and mount namespaces of its own, with a fresh `/run`, in
//! which the real binary, real iptables and real runtimes run. The machine's own interfaces,
//! routes and firewall are never touched.
//!
//! A world belongs to the thread that made it (`unshare(2)` works on threads): programs started
//! from the test's thread run inside, and the kernel takes everything back when the last of
//! them has ended. So tests may run side by side.

pub mod kubelet;
mod options;
mod runc;
pub mod scene;
pub mod traffic;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
pub use options::{Options, annotations, ask_for, ask_for_in, change, flags, state};

/// The binary under test.
pub const NETNS: &str = env!("CARGO_BIN_EXE_netns");

/// Says why a test cannot run here, which CI takes for a failure.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped: {why}");
    eprintln!("skipped: {why}");
}

/// Makes two tests of each function, which takes a world: one on iptables-nft and one on
/// iptables-legacy.
macro_rules! on_both_variants {
    ($($fact:ident),+ $(,)?) => {
        crate::common::on_firewall! { nft $($fact)+ }
        crate::common::on_firewall! { legacy $($fact)+ }
    };
}
pub(crate) use on_both_variants;

/// As [`on_both_variants`], and a third test on nftables.
macro_rules! on_every_firewall {
    ($($fact:ident),+ $(,)?) => {
        crate::common::on_firewall! { nft $($fact)+ }
        crate::common::on_firewall! { legacy $($fact)+ }
        crate::common::on_firewall! { nftables $($fact)+ }
    };
}
pub(crate) use on_every_firewall;

/// Makes a test of each function, which takes a world with this firewall.
macro_rules! on_firewall {
    ($firewall:ident $($fact:ident)+) => {
        mod $firewall {
            $(#[test]
            fn $fact() {
                let Some(mut world) = crate::common::World::new() else { return };
                world.use_firewall(stringify!($firewall));
                super::$fact(world);
            })+
        }
    };
}
pub(crate) use on_firewall;

/// A host of its own, with loopback up and nothing else.
pub struct World {
    /// A directory of this test's own, gone with it.
    pub dir: PathBuf,
    /// What every `netns` here is told: `--firewall=nftables`, or nothing.
    pub flags: Vec<String>,
    children: Vec<Child>,
    runc: Vec<String>,
}

impl World {
    /// Moves the calling thread into a new world; `None` (after saying why) without root.
    pub fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("a world of its own needs root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("make / private");
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("mount /run");
        // crun refuses hybrid cgroups.
        let _ = umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH);
        let dir = PathBuf::from("/run/test");
        fs::create_dir(&dir).expect("create /run/test");
        // Whatever the machine is to be after a boot, the world is not.
        for configured in ["/etc/sysctl.d", "/usr/lib/sysctl.d", "/usr/local/lib/sysctl.d"] {
            let _ = mount(Some("none"), configured, Some("tmpfs"), MsFlags::empty(), none);
        }
        let _ = mount(Some("/dev/null"), "/etc/sysctl.conf", none, MsFlags::MS_BIND, none);
        let world = Self { dir, flags: Vec::new(), children: Vec::new(), runc: Vec::new() };
        world.sh("ip link set lo up");
        Some(world)
    }

    /// Has these directories of the machine's changed in this world only.
    pub fn change_only_here(&self, directories: &[&str]) {
        for dir in directories {
            let own = self.dir.join("overlay").join(dir.replace('/', "_"));
            let own = own.display();
            self.sh(&format!(
                "mkdir -p {own}/up {own}/work && \
                 mount -t overlay overlay -o lowerdir={dir},upperdir={own}/up,workdir={own}/work {dir}"
            ));
        }
    }

    /// Has every `netns` in this world use `nftables`, or the `nft` or the `legacy` variant of
    /// iptables.
    pub fn use_firewall(&mut self, firewall: &str) {
        match firewall {
            "nftables" => self.flags.push("--firewall=nftables".to_owned()),
            variant => self.use_iptables(variant),
        }
    }

    /// Whether it is nftables that `netns` uses.
    pub fn is_on_nftables(&self) -> bool {
        self.flags.iter().any(|flag| flag == "--firewall=nftables")
    }

    /// Gives the network of every `netns` in this world these subnets.
    pub fn use_subnets(&mut self, gateways: &[&str]) {
        self.flags.extend(gateways.iter().map(|gateway| format!("--ip={gateway}")));
    }

    /// Removes the guards, so that what they keep out gets in.
    pub fn flush_guard(&self) {
        let [four, six] = if self.is_on_nftables() {
            ["nft flush chain ip netns guard", "nft flush chain ip6 netns guard"]
        } else {
            ["iptables -t raw -F NETNS-GUARD", "ip6tables -t raw -F NETNS-GUARD"]
        };
        // Where there is no IPv6, there is no guard of it.
        self.sh(&format!("{four} && ({six} 2>/dev/null || true)"));
    }

    /// Makes iptables in this world the `nft` or the `legacy` variant.
    pub fn use_iptables(&self, variant: &str) {
        let none: Option<&str> = None;
        let programs = ["iptables", "ip6tables"];
        let programs = programs
            .into_iter()
            .flat_map(|program| ["", "-save", "-restore"].map(|of| format!("{program}{of}")));
        mount(Some("alternatives"), "/etc/alternatives", Some("tmpfs"), MsFlags::empty(), none)
            .expect("mount /etc/alternatives");
        for program in programs {
            let (name, action) = program.split_once('-').unwrap_or((&program, ""));
            let dash = if action.is_empty() { "" } else { "-" };
            let target = format!("/usr/sbin/{name}-{variant}{dash}{action}");
            assert!(Path::new(&target).exists(), "{target} is missing");
            std::os::unix::fs::symlink(target, format!("/etc/alternatives/{program}")).expect("symlink");
        }
    }

    /// Runs a shell command, which must succeed, and gives its standard output.
    pub fn sh(&self, command: &str) -> String {
        let output = self.try_sh(command);
        assert!(output.status.success(), "{command}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell command.
    pub fn try_sh(&self, command: &str) -> Output {
        let command = format!("PATH=$PATH:/usr/sbin:/sbin; {command}");
        Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output().expect("run sh")
    }

    /// Runs `netns` with these arguments and this standard input.
    pub fn netns(&self, args: &[&str], input: &str) -> Output {
        run(Command::new(NETNS).args(&self.flags).args(args), input)
    }

    /// As [`Self::netns`], and it must succeed; its standard output.
    pub fn netns_ok(&self, args: &[&str], input: &str) -> String {
        let output = self.netns(args, input);
        assert!(output.status.success(), "netns {args:?}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A container that is only a process in a network namespace of its own.
    pub fn process(&mut self) -> Process {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "3000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a container");
        let pid = child.id();
        self.children.push(child);
        let own = fs::read_link("/proc/thread-self/ns/net").expect("own namespace");
        wait_for("a namespace of its own", || {
            fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|other| other != own)
        });
        Process { pid }
    }

    /// Kills one of [`Self::process`], and waits until it is gone.
    pub fn kill(&mut self, process: Process) {
        for child in self.children.iter_mut().filter(|child| child.id() == process.pid) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Keeps a child until the test ends, which ends it.
    pub fn keep(&mut self, child: Child) -> u32 {
        let pid = child.id();
        self.children.push(child);
        pid
    }

    /// Attaches a process as the hook would, with these options.
    pub fn attach(&self, id: &str, process: Process, options: &Options) -> Output {
        let (flags, annotations) = (flags(options), annotations(options));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.netns(&flags, &state(id, "creating", Some(process.pid), &annotations))
    }

    /// As [`Self::attach`], and it must succeed.
    pub fn attach_ok(&self, id: &str, process: Process, options: &Options) {
        let output = self.attach(id, process, options);
        assert!(output.status.success(), "attach {id}: {}", stderr(&output));
    }

    /// Detaches as `poststop` would.
    pub fn detach(&self, id: &str) -> Output {
        self.netns(&[], &state(id, "stopped", None, &[]))
    }

    /// As [`Self::detach`], and nothing may be said.
    pub fn detach_ok(&self, id: &str) {
        let output = self.detach(id);
        assert!(output.status.success() && output.stderr.is_empty(), "detach {id}: {}", stderr(&output));
    }

    /// Everything on this host that `netns` could change, a line each: links (without their
    /// numbers, and their carrier, which follows later), addresses, routes, rules, kernel parameters, files
    /// below `/run` with all claims, and who is in the `hosts` file of which network. The locks of
    /// rules and names, notes, logs, and half a file of a run that was killed are no leak.
    pub fn snapshot(&self) -> Vec<String> {
        let commands = [
            "ip -o link show | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/(NO-CARRIER,|,LOWER_UP)//g; s/ (state|qlen|mode|group) [^ ]*//g'",
            // What links give themselves comes and goes by itself.
            "(ip -o -4 addr show; ip -o -6 addr show scope global) | sed -E 's/^[0-9]+: //'",
            "ip route show table all | grep -vE 'fe80:|ff00:' | sed -E 's/ linkdown//'",
            "ip neigh show nud permanent | sort",
            "(iptables-save; ip6tables-save) | grep -v '^#' | sed -E 's/ \\[[0-9]+:[0-9]+\\]//'",
            "for family in ip ip6; do nft list table $family netns 2>/dev/null; done | \
             sed -E 's/^[ \t]*(elements = \\{)?[ \t]*//; s/ counter packets [0-9]+ bytes [0-9]+//; s/( \\}|,)$//'",
            "tc qdisc show | grep -E 'tbf|ingress' | sed -E 's/^qdisc ([a-z]+) [0-9a-f]+:/\\1/'; true",
            "grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/route_localnet; \
             grep -sH . /proc/sys/net/ipv6/conf/*/f*forwarding; true",
            "find /run ! -path '/run/test/runc*' ! -path /run/test/log ! -path '/run/netns-hook/notes/*' \
             ! -path '/run/netns-hook/*.lock' ! -path '/run/netns-hook/names/*/lock' \
             ! -path '/run/netns-hook/log*' ! -path '/run/netns-hook/unfinished*' \
             \\( -type f -printf '%p\\n' -o -type l -printf '%p -> %l\\n' \\) | sort",
            "grep -v '^#' /run/netns-hook/names/*/hosts /dev/null 2>/dev/null | sed 's/ *$//'; true",
        ];
        commands.iter().flat_map(|command| lines(&self.sh(command))).collect()
    }

    /// Fails with the lines that differ if the host is not as it was at `before`.
    pub fn assert_as(&self, before: &[String]) {
        let after = self.snapshot();
        let missing = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
        let added = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
        let differences: Vec<String> = missing.chain(added).collect();
        assert!(differences.is_empty(), "the host differs:\n{}", differences.join("\n"));
    }

    /// All rules of all tables, as iptables-save prints them, and our table of nftables.
    pub fn rules(&self) -> String {
        self.sh("iptables-save | grep -v '^#'; nft list table ip netns 2>/dev/null || true")
    }

    /// The names of all links.
    pub fn links(&self) -> Vec<String> {
        let text = self.sh("ip -o link show");
        let name = |line: &str| {
            line.split(": ").nth(1).map(|name| name.split('@').next().unwrap_or(name).to_owned())
        };
        text.lines().filter_map(name).collect()
    }

    /// `netns ls --json`, parsed.
    pub fn ls(&self) -> serde_json::Value {
        serde_json::from_str(&self.netns_ok(&["ls", "--json"], "")).expect("ls --json is JSON")
    }

    /// Rewrites the record of a container, by somebody who knows the form.
    pub fn rewrite_record(&self, id: &str, what: impl FnOnce(&mut serde_json::Value)) {
        let path = self.record(id);
        let mut record = netns::store::decode(&fs::read(&path).expect("read the record")).expect("a record");
        what(&mut record);
        fs::write(path, netns::store::encode(&record).expect("JSON")).expect("write the record");
    }

    /// The file of the record of a container.
    pub fn record(&self, id: &str) -> String {
        self.sh(&format!("ls -d /run/netns-hook/containers/{id}@*.json")).trim().to_owned()
    }

    /// Makes a container's record look as if its process had died, and another had been given
    /// its pid: the process that runs has not started when the record says.
    pub fn give_its_pid_away(&self, id: &str) {
        self.rewrite_record(id, |record| {
            let start = record.pointer_mut("/sandbox/found_by/process/start_time").expect("a start time");
            *start = 1.into();
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for id in std::mem::take(&mut self.runc) {
            let _ = self.runc(&["delete", "--force", &id]);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        end_all_in_this_world();
    }
}

/// Ends what a test has left running, as a remedy that is to stay: it has the world's mounts,
/// which nothing else on the machine has. A server that is about to fork is looked for again.
fn end_all_in_this_world() {
    for _ in 0..1000 {
        if !end_some_in_this_world() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether there were any.
fn end_some_in_this_world() -> bool {
    let Ok(own) = fs::read_link("/proc/thread-self/ns/mnt") else { return false };
    let mut any = false;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let is_here = fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|other| other == own);
        // The test itself may run in the first thread of its process.
        if is_here && pid != Pid::this().as_raw() {
            any |= kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
        }
    }
    any
}

/// A process that stands for a container, or for another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
}

impl Process {
    /// Runs a shell command in the process's network namespace, which must succeed.
    pub fn sh(self, command: &str) -> String {
        let output = self.try_sh(command);
        assert!(output.status.success(), "{command}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell command in the process's network namespace.
    pub fn try_sh(self, command: &str) -> Output {
        let command = format!("PATH=$PATH:/usr/sbin:/sbin; {command}");
        Command::new("nsenter")
            .args(["-t", &self.pid.to_string(), "-n", "sh", "-c", &command])
            .stdin(Stdio::null())
            .output()
            .expect("run nsenter")
    }

    /// Whether an echo request from here is answered within a second, at one of three tries.
    pub fn pings(self, address: &str) -> bool {
        (0..3).any(|_| self.try_sh(&format!("busybox ping -c 1 -W 1 {address}")).status.success())
    }
}

/// Runs a program with this standard input to its end.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the program");
    let mut stdin = child.stdin.take().expect("stdin");
    // The program may refuse before it has read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("wait for the program")
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What a program said on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits, at most ten seconds, until something is so.
pub fn wait_for(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
