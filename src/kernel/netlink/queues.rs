//! How fast links send: token buckets, and what passes another link first.

use std::collections::HashMap;
use std::io;

use rtnetlink::packet_core::{DefaultNla, Nla, NlasIterator};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcStats2, TcU32Selector, TcU32SelectorFlags,
};

use super::Netlink;
use crate::model::limits::{Limits, Queue};
use crate::model::observed::Links;
use crate::model::rate::TokenBucket;
use crate::model::step::Step;
use crate::model::value::Iface;

/// `TCA_TBF_PARMS`: a `struct tc_tbf_qopt`.
const PARMS: u16 = 1;
/// `TCA_TBF_RATE64`, in bytes per second.
const RATE64: u16 = 4;
/// `TCA_TBF_BURST`, in bytes.
const BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: without it the kernel would want a table of times.
const ETHERNET: u8 = 1;
/// One tick of the kernel's packet scheduler, in nanoseconds.
const TICK: u64 = 64;
/// `ETH_P_ALL`.
const ALL: u16 = 3;
/// What is changed if it is there, and made if it is not.
const PUT: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// Where what comes in by a link is looked at.
const INCOMING: TcHandle = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
/// The one filter there: the first key of the first table.
const FILTER: TcHandle = TcHandle { major: 0x8000, minor: 0x800 };

impl Netlink {
    /// Lets a link send no faster than this.
    ///
    /// # Errors
    /// There is no such link; `ENOENT` where the kernel has no token buckets.
    pub fn set_rate(&self, link: &Iface, bucket: &TokenBucket) -> io::Result<()> {
        let mut message = self.message(link)?;
        message.header.parent = TcHandle::ROOT;
        let rate = bucket.bits / 8;
        let options = [
            DefaultNla::new(PARMS, parameters(rate, bucket.limit)),
            DefaultNla::new(RATE64, rate.to_ne_bytes().to_vec()),
            DefaultNla::new(BURST, bucket.burst.to_ne_bytes().to_vec()),
        ];
        message.attributes = vec![
            TcAttribute::Kind("tbf".to_owned()),
            TcAttribute::Options(options.into_iter().map(TcOption::Other).collect()),
        ];
        self.change(RouteNetlinkMessage::NewQueueDiscipline(message), PUT)
    }

    /// Sends what comes in by a link by another first.
    ///
    /// # Errors
    /// There is no such link; `ENOENT` where the kernel cannot look at what comes in, or redirect it.
    pub fn redirect(&self, link: &Iface, to: &Iface) -> io::Result<()> {
        let mut message = self.message(link)?;
        (message.header.parent, message.header.handle) =
            (TcHandle::INGRESS, TcHandle { major: 0xffff, minor: 0 });
        message.attributes = vec![TcAttribute::Kind("ingress".to_owned())];
        self.change(RouteNetlinkMessage::NewQueueDiscipline(message), PUT)?;

        let mut message = self.message(link)?;
        (message.header.parent, message.header.handle) = (INCOMING, FILTER);
        message.header.info = TcHandle { major: 1, minor: ALL.to_be() }.into();
        // No key at all: a key would pass over a packet that is too short for it.
        let mut selector = TcU32Selector::default();
        selector.flags = TcU32SelectorFlags::Terminal;
        let mut mirror = TcMirror::default();
        (mirror.eaction, mirror.ifindex) = (TcMirrorActionType::EgressRedir, self.index(to.as_str())?);
        mirror.generic.action = TcActionType::Stolen;
        let mut action = TcAction::default();
        action.attributes = vec![
            TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
            TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]),
        ];
        let options = [TcFilterU32Option::Selector(selector), TcFilterU32Option::Action(vec![action])];
        message.attributes = vec![
            TcAttribute::Kind(TcFilterU32::KIND.to_owned()),
            TcAttribute::Options(options.into_iter().map(TcOption::U32).collect()),
        ];
        self.change(RouteNetlinkMessage::NewTrafficFilter(message), PUT)
    }

    fn message(&self, link: &Iface) -> io::Result<TcMessage> {
        Ok(TcMessage::with_index(self.index(link.as_str())?.cast_signed()))
    }

    /// What limits the links that `steps` have limited; nothing is asked where they limit nothing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limits<'a>(&self, steps: impl Iterator<Item = &'a Step>, links: &Links) -> io::Result<Limits> {
        let (mut queues, mut redirects) = (None, HashMap::new());
        for step in steps {
            match step {
                Step::SetRate { .. } if queues.is_none() => queues = Some(self.queues()?),
                Step::Redirect { link, .. } => {
                    let link = links.by_name(link.as_str()).map(|link| link.index);
                    let to = link.map(|link| self.redirected_to(link)).transpose()?.flatten();
                    redirects.extend(link.zip(to));
                }
                _ => {}
            }
        }
        Ok(Limits { queues: queues.unwrap_or_default(), redirects })
    }

    /// The token buckets of all links that have one, by the links' numbers.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn queues(&self) -> io::Result<HashMap<u32, Queue>> {
        let all = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let found = self.table(all, when!(RouteNetlinkMessage::NewQueueDiscipline(found) => found))?;
        Ok(found.iter().filter_map(queue).collect())
    }

    /// The number of the link that what comes in by this one, by its number, passes first.
    fn redirected_to(&self, index: u32) -> io::Result<Option<u32>> {
        let mut message = TcMessage::with_index(index.cast_signed());
        message.header.parent = INCOMING;
        let found = when!(RouteNetlinkMessage::NewTrafficFilter(found) => found);
        let filters = self.table(RouteNetlinkMessage::GetTrafficFilter(message), found)?;
        Ok(filters.into_iter().find_map(redirect))
    }
}

/// A `struct tc_tbf_qopt`: the rate, no peak rate, and the limit. What else stands in it the kernel
/// has from other attributes.
fn parameters(rate: u64, limit: u32) -> Vec<u8> {
    let rate = u32::try_from(rate).unwrap_or(u32::MAX);
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(rate.to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(limit.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// The token bucket of a link, if it is one that all the link sends passes.
fn queue(message: &TcMessage) -> Option<(u32, Queue)> {
    let is = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "tbf");
    if message.header.parent != TcHandle::ROOT || !message.attributes.iter().any(is) {
        return None;
    }
    let mut queue = Queue::default();
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Options(options) => options.iter().for_each(|option| {
                if let TcOption::Other(nested) = option {
                    read(nested, &mut queue);
                }
            }),
            TcAttribute::Stats2(all) => all.iter().for_each(|stats| match stats {
                TcStats2::Basic(basic) => (queue.bytes, queue.packets) = (basic.bytes, basic.packets),
                TcStats2::Queue(found) => (queue.dropped, queue.waiting) = (found.drops, found.backlog),
                _ => {}
            }),
            _ => {}
        }
    }
    Some((message.header.index.cast_unsigned(), queue))
}

/// The attributes of a token bucket.
fn read(nested: &DefaultNla, queue: &mut Queue) {
    let mut value = vec![0; nested.value_len()];
    nested.emit_value(&mut value);
    let number = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        u64::from(four.map_or(0, u32::from_ne_bytes))
    };
    let mut ticks = 0;
    for attribute in NlasIterator::new(&value[..]).filter_map(Result::ok) {
        match attribute.kind() {
            PARMS => {
                let parameters = attribute.value();
                queue.bits = queue.bits.max(8 * number(parameters, 8));
                queue.limit = number(parameters, 24) as u32;
                ticks = number(parameters, 28);
            }
            RATE64 => {
                let rate = attribute.value().try_into().map_or(0, u64::from_ne_bytes);
                queue.bits = queue.bits.max(8 * rate);
            }
            _ => {}
        }
    }
    let bytes = u128::from(ticks * TICK) * u128::from(queue.bits / 8) / 1_000_000_000;
    queue.burst = bytes.try_into().unwrap_or(u64::MAX);
}

fn redirect(message: TcMessage) -> Option<u32> {
    let options = message.attributes.into_iter().filter_map(when!(TcAttribute::Options(options) => options));
    let actions =
        options.flatten().filter_map(when!(TcOption::U32(TcFilterU32Option::Action(actions)) => actions));
    let attributes = actions.flatten().flat_map(|action| action.attributes);
    let mirrors = attributes.filter_map(when!(TcActionAttribute::Options(options) => options));
    mirrors
        .flatten()
        .find_map(when!(TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror)) => mirror.ifindex))
}
