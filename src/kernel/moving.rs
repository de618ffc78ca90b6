//! Devices of the host, moved into a container and brought back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::device::alias;
use super::inside::visit;
use super::namespaces;
use super::netlink::{Netlink, or_gone};
use super::observe::lower;
use super::sysctl::Sysctl;
use super::sysfs::Sysfs;
use crate::error::{Doing, Error, Result};
use crate::log::Log;
use crate::model::device::MovedDevice;

/// How long the kernel may take to give back what was in a namespace that dies, in milliseconds:
/// namespaces die in the background, many at once.
pub(super) const PATIENCE: u32 = 3000;

/// Moves a device into the container's namespace; all of it, or nothing.
pub(super) fn move_in(host: &Netlink, device: &MovedDevice, netns: BorrowedFd<'_>, log: &Log) -> Result<()> {
    let identity = &device.before.identity;
    if !identity.is_hardware() && identity.inode.is_none() {
        let cause = "it could not be known again: sysfs cannot be mounted here";
        return Err(Error::new(device, cause));
    }
    let Err(error) = host.set_link(device.message(netns)) else { return Ok(()) };
    // The kernel does one thing after the other, and the move is the first.
    Err(Error::new(device, error).also(bring_back(host, device, log, true).err()))
}

/// Whether it is in the container's namespace now.
///
/// # Errors
/// The namespace cannot be entered, or the kernel does not answer.
pub fn is_inside(device: &MovedDevice) -> Result<bool> {
    let Some(inside) = enter(device)? else { return Ok(false) };
    Ok(inside.find(device).doing(|| format!("find {} in the container", device.name))?.is_some())
}

/// Brings a device back to the host and makes it what it was. One that is there already,
/// because it was never moved or because the kernel gave it back when the container's
/// namespace died, is only made what it was; one that the kernel destroyed is gone.
///
/// To `wait` is for the kernel to give it back, which takes it a while.
///
/// # Errors
/// It is nowhere to be found and must be somewhere, or it cannot be made what it was.
pub(super) fn bring_back(host: &Netlink, device: &MovedDevice, log: &Log, wait: bool) -> Result<()> {
    let operation = || format!("bring {} back to the host", device.name);
    let here = Place::here(device).doing(operation)?;
    // A search through all processes, which what is here spares.
    if here.find(device).doing(operation)?.is_none()
        && let Some(inside) = enter(device)?
        && let Some(link) = inside.find(device).doing(operation)?
    {
        return_from(&inside, device, link.header.index).doing(operation)?;
        here.delete_forgeries(device).doing(operation)?;
    }
    for left in (0..if wait { PATIENCE } else { 1 }).rev() {
        if let Some(link) = here.find(device).doing(operation)? {
            return restore(host, device, &link, log);
        }
        if !will_return(device) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(left.min(1).into()));
    }
    Err(Error::new(operation(), "it is neither here nor in the container")
        .hint("the kernel gives hardware back to the machine's first network namespace"))
}

/// Whether it is hardware that is still there: the kernel gives it back.
fn will_return(device: &MovedDevice) -> bool {
    let identity = &device.before.identity;
    let present = |path: &String| {
        let (bus, name) = path.split_once('/').unwrap_or_default();
        Path::new("/sys/bus").join(bus).join("devices").join(name).exists()
    };
    identity.is_given_back() && identity.device.as_ref().is_none_or(present)
}

/// A network namespace that a device may be in.
struct Place {
    netlink: Netlink,
    /// Where the device has to be told from others by it.
    sysfs: Option<Sysfs>,
}

impl Place {
    /// The namespace of this thread.
    fn here(device: &MovedDevice) -> io::Result<Self> {
        let sysfs = device.before.identity.inode.map(|_| Sysfs::here()).transpose()?;
        Ok(Self { netlink: Netlink::open_here()?, sysfs })
    }

    fn find(&self, device: &MovedDevice) -> io::Result<Option<LinkMessage>> {
        let mut links = self.netlink.link_messages()?.into_iter();
        let (Some(sysfs), Some(inode)) = (&self.sysfs, device.before.identity.inode) else {
            return Ok(links.find(|link| device.is(link)));
        };
        let index = sysfs.index_of(inode)?;
        Ok(links.find(|link| Some(link.header.index) == index))
    }

    /// Deletes what has come instead of a device: while it was on its way, somebody inside may
    /// have deleted it and made another with its number.
    fn delete_forgeries(&self, device: &MovedDevice) -> io::Result<()> {
        let (Some(sysfs), Some(inode)) = (&self.sysfs, device.before.identity.inode) else { return Ok(()) };
        let index = sysfs.index_of(inode)?;
        for link in self.netlink.link_messages()? {
            if alias(&link) == Some(&device.mark) && Some(link.header.index) != index {
                or_gone(self.netlink.delete_link(link.header.index))?;
            }
        }
        Ok(())
    }
}

/// The container's namespace, if anything still keeps it.
fn enter(device: &MovedDevice) -> Result<Option<Place>> {
    let Some(netns) = namespaces::find(device.netns.pid(), device.inode) else { return Ok(None) };
    let operation = || format!("look for {} in the container", device.name);
    Ok(Some(visit(&netns, || Place::here(device))?.doing(operation)?))
}

/// Moves it to the host, if need be under a name that nobody has, and with another number.
/// What the container has built on it would stay there and go on using it: it is deleted.
fn return_from(place: &Place, device: &MovedDevice, index: u32) -> io::Result<()> {
    let inside = &place.netlink;
    let host = File::open("/proc/self/ns/net")?;
    for upper in inside.link_messages()?.iter().filter(|link| lower(link) == Some(index)) {
        or_gone(inside.delete_link(upper.header.index))?;
    }
    let attempts = [(device.name.as_str(), true), (device.name.as_str(), false), ("netns%d", false)];
    let mut last = Ok(());
    for (name, keep_index) in attempts {
        last = inside.set_link(device.returning(index, host.as_fd(), name, keep_index));
        // What fails after the move is tried again on the host.
        if last.is_ok() || place.find(device)?.is_none() {
            return Ok(());
        }
    }
    last
}

/// Makes a link of the host what it was.
fn restore(host: &Netlink, device: &MovedDevice, link: &LinkMessage, log: &Log) -> Result<()> {
    let (before, index) = (&device.before, link.header.index);
    let name = device.name.as_str();
    let master = match &before.master {
        // Gone meanwhile is fine.
        Some(master) => host.link(master).doing(|| format!("find link {master}"))?.map(|link| link.index),
        None => None,
    };
    let mut up = link.header.flags.contains(LinkFlags::Up);
    if let Some(message) = device.restoring(link, master) {
        if up {
            host.set_link(numbered(index).down().build()).doing(|| format!("ip link set {name} down"))?;
            up = false;
        }
        host.set_link(message).doing(|| format!("give {name} its name, address and MTU again"))?;
    }
    restore_parameters(device, log);
    if up != before.up {
        let message = if before.up { numbered(index).up() } else { numbered(index).down() };
        host.set_link(message.build()).doing(|| format!("set {name} up or down again"))?;
    }
    restore_addresses(host, device, index, log);
    restore_routes(host, device, index, log);
    let was = before.alias.as_deref().unwrap_or_default();
    if alias(link).unwrap_or_default() != was {
        host.set_link(numbered(index).alias(was).build()).doing(|| format!("ip link set {name} alias"))?;
    }
    Ok(())
}

fn numbered(index: u32) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_index(index)
}

/// What cannot be given back is told, and keeps nothing else: it would fail again next time.
fn restore_parameters(device: &MovedDevice, log: &Log) {
    let sysctl = Sysctl::default();
    for (family, name, value) in &device.before.parameters {
        let key = format!("net/{family}/conf/{}/{name}", device.name);
        let current = sysctl.read(&key).unwrap_or_default();
        if current.is_some_and(|current| current != *value)
            && let Err(error) = sysctl.write(&key, value)
        {
            log.warn(&Error::new(format!("sysctl -w {key}={value}"), error));
        }
    }
}

fn restore_addresses(host: &Netlink, device: &MovedDevice, index: u32, log: &Log) {
    for message in device.before.addresses.iter().filter_map(|saved| saved.messages(index)).flatten() {
        if let Err(error) = host.put_address(message) {
            log.warn(&Error::new(format!("give {} its address again", device.name), error));
        }
    }
}

/// A route may need another one, to its next hop: what fails is tried again after the others.
fn restore_routes(host: &Netlink, device: &MovedDevice, index: u32, log: &Log) {
    let was = device.before.identity.index;
    let mut left: Vec<_> =
        device.before.routes.iter().filter_map(|saved| saved.message(was, index)).collect();
    loop {
        let count = left.len();
        let mut failures = Vec::new();
        left.retain(|route| match host.put_route(route.clone()) {
            Ok(()) => false,
            Err(error) => {
                failures.push(error);
                true
            }
        });
        if left.is_empty() || left.len() == count {
            for error in failures {
                log.warn(&Error::new(format!("give {} its route again", device.name), error));
            }
            return;
        }
    }
}
