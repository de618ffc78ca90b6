//! Links, addresses and routes of one network namespace, over one rtnetlink socket.
//!
//! Every call is one request and waits for its answer. Errors are the kernel's own, for the
//! caller to say what was being done.

mod describe;
mod dump;
mod examine;
mod ports;
mod write;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use futures_util::{StreamExt, TryStream, TryStreamExt};
use nix::libc;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::LinkExtentMask;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::error::{Doing, Result};
use crate::model::observed::Link;
pub(super) use describe::{address_of, describe, name_of};

/// One socket, and the runtime that it shares with those of other namespaces.
#[derive(Debug, Clone)]
pub struct Netlink {
    runtime: Arc<Runtime>,
    handle: Handle,
    /// How much of a table is read.
    most: usize,
    /// Whoever reads and writes the socket; ends where that fails.
    connection: AbortHandle,
}

/// How much of a container's tables is read: it may make them as long as it likes.
const MOST_INSIDE: usize = 1 << 16;

impl Netlink {
    /// Opens a socket in the calling thread's network namespace, with a runtime of its own.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn open() -> Result<Self> {
        let operation = || "open a netlink socket";
        let runtime = Builder::new_current_thread().enable_io().build().doing(operation)?;
        Self::open_here(Arc::new(runtime)).doing(operation)
    }

    /// The same socket for a container, of whose tables only the beginning is read.
    pub fn bounded(self) -> Self {
        Self { most: MOST_INSIDE, ..self }
    }

    /// Opens a socket in the calling thread's network namespace, whichever thread that is.
    pub(super) fn open_here(runtime: Arc<Runtime>) -> io::Result<Self> {
        let (connection, handle) = {
            let _guard = runtime.enter();
            // The kernel is to heed what a request leaves out, instead of telling of all.
            let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
            (runtime.spawn(connection).abort_handle(), handle)
        };
        Ok(Self { runtime, handle, most: usize::MAX, connection })
    }

    pub(super) fn runtime(&self) -> Arc<Runtime> {
        Arc::clone(&self.runtime)
    }

    fn wait<T>(
        &self,
        request: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> io::Result<T> {
        let answer = self.runtime.block_on(request).map_err(kernels_own)?;
        // A request that was not sent, or not answered, looks like one that was answered by nothing.
        if self.connection.is_finished() {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the netlink socket has failed"));
        }
        Ok(answer)
    }

    /// A table, or the beginning of it.
    fn table<T>(&self, rows: impl TryStream<Ok = T, Error = rtnetlink::Error> + Unpin) -> io::Result<Vec<T>> {
        self.wait(TryStreamExt::into_stream(rows).take(self.most).try_collect())
    }

    /// Asks for one object, and gives the first answer that `wanted` knows.
    fn ask<T>(
        &self,
        request: RouteNetlinkMessage,
        wanted: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST;
        let mut handle = self.handle.clone();
        self.wait(async move {
            let mut answers = handle.request(message)?;
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(answer) => {
                        if let Some(found) = wanted(answer) {
                            return Ok(Some(found));
                        }
                    }
                    NetlinkPayload::Error(error) => return Err(rtnetlink::Error::NetlinkError(error)),
                    _ => {}
                }
            }
            Ok(None)
        })
    }

    /// The link called `name`, if there is one; without its addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let request = self.handle.link().get().match_name(name);
        // Half of the answer would be IPv6's counters, which are to be collected and read.
        let request =
            request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]).execute();
        match self.wait(async move { std::pin::pin!(request).try_next().await }) {
            Ok(message) => Ok(message.as_ref().map(describe)),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number of the link called `name`.
    ///
    /// # Errors
    /// There is none (`ENODEV`).
    pub fn index(&self, name: &str) -> io::Result<u32> {
        let found = self.link(name)?.map(|link| link.index);
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }
}

/// The error that the kernel gave, without the library's words around it.
fn kernels_own(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EADDRNOTAVAIL | libc::ESRCH))
}

/// What was to be removed and is not there any more is removed.
///
/// # Errors
/// Every other error.
pub fn or_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if gone(&error) => Ok(()),
        result => result,
    }
}
