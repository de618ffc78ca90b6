//! How fast a container receives and sends at most. All of it is done to links of the host: a
//! container with `CAP_NET_ADMIN` reaches none of them.

use super::steps::Steps;
use super::veth::alias;
use crate::error::{Error, Kind, Result};
use crate::model::link::{HOST_MAC, Ifb, ifb_mac, ifb_of};
use crate::model::record::{Attachment, Record};
use crate::model::request::NetworkRequest;
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value;

impl Steps<'_> {
    /// What goes to the container waits on the host end. What comes from there can wait only on a
    /// link that it leaves by: it is sent by one of its own first.
    ///
    /// # Errors
    /// Not even one packet of `mtu` bytes would pass; or there is no host end.
    pub(super) fn rates(
        &mut self,
        record: &Record,
        attachment: &Attachment,
        wanted: &NetworkRequest,
        (mtu, ipv6): (u32, bool),
    ) -> Result<()> {
        if wanted.rate_in.or(wanted.rate_out).is_none() {
            return Ok(());
        }
        let ends = attachment.host_interface.as_ref().and_then(|end| Some((end, ifb_of(end)?)));
        let (Some((end, name)), Some(address)) = (ends, attachment.addresses.first()) else {
            let operation = format!("limit the rate of {} on {}", record.container, wanted.network.name);
            let cause = "what it sends and receives there passes no link of the host's own";
            let hint = "name the networks that a rate is for, as --network front:rate-in=10mbit";
            return Err(Error::new(operation, cause).of(Kind::Conflict).hint(hint));
        };
        let operation = |error: Error| error.during(format!("attach {}", record.container));
        if let Some(rate) = &wanted.rate_in {
            let bucket = rate.bucket(mtu).map_err(operation)?;
            self.make(Step::SetRate { link: end.clone(), bucket });
        }
        if let Some(rate) = &wanted.rate_out {
            let bucket = rate.bucket(mtu).map_err(operation)?;
            let mac = ifb_mac(value::mac(HOST_MAC, address.ip()));
            self.make(Step::AddIfb(Ifb { name: name.clone(), mac }));
            self.make(Step::SetAlias { link: name.clone(), alias: alias(record) });
            if ipv6 {
                self.ipv6(Netns::Host, &name, false);
            }
            self.make(Step::SetRate { link: name.clone(), bucket });
            self.make(Step::Redirect { link: end.clone(), to: name });
        }
        Ok(())
    }
}
