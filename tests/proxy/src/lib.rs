//! TCP proxies on the loopback interface that stand in for a wide-area network: they delay, and they cut.
//!
//! A [`Link`] lies before one server. What it does to the bytes can change at any time:
//!
//! | | what passes | what connections see |
//! |---|---|---|
//! | [`Link::set_round_trip`] | everything, half of the time later each way | the delay of the path, once more while connecting |
//! | [`Cut::Silent`] | nothing | silence, no end: as when a cable is cut |
//! | [`Cut::There`], [`Cut::Back`] | one direction only | silence in the other |
//! | [`Cut::Refuse`] | nothing | they are reset, and new ones refused: as when a process has died |
//!
//! Nothing is ever lost inside a connection that lives: as TCP would send again after a cut, the link delivers when it is
//! [healed](Link::heal), unless one end has given up in the meantime. A delay does not hold up what follows: a hundred
//! messages in flight arrive as close to each other as they were sent.
//!
//! A [`Network`] has a link for each ordered pair of sites, and cuts off a site, one half from the other, or one direction.
//!
//! Two things differ from a real network. The loopback interface completes a connection by itself, so that during a silent
//! cut one can connect, to nothing. And time is counted in milliseconds: a delay is at least what was asked, and up to
//! about a millisecond more each way.

mod link;
mod network;

pub use link::{Cut, Link};
pub use network::Network;
