//! How peers become known.
//!
//! Channels are independent: what is dialed for one of them waits for nothing that another one does, even if both name the
//! same peer.

use std::time::Duration;

use super::limits;

/// How a peer became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Somebody gave its address: a ticket, or `--peer`.
    Given,
    /// It is a process of the same user.
    Local,
    /// mDNS found it on the local network.
    Lan,
    /// It was a good peer some other time.
    Remembered,
    /// The DHT named it.
    Dht,
    /// A peer of a drive of ours named it.
    Exchanged,
    /// It leads into the DHT: somebody gave its address for that.
    Bootstrap,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Given,
        Self::Local,
        Self::Lan,
        Self::Remembered,
        Self::Dht,
        Self::Exchanged,
        Self::Bootstrap,
    ];

    /// Returns the longest pause before such a peer is dialed again.
    pub(super) fn redial_max(self) -> Duration {
        match self {
            Self::Given | Self::Local => limits::REDIAL_MAX,
            Self::Lan => limits::REDIAL_LAN_MAX,
            Self::Remembered => limits::REDIAL_REMEMBERED_MAX,
            Self::Dht | Self::Exchanged => limits::REDIAL_DHT_MAX,
            Self::Bootstrap => limits::REDIAL_BOOTSTRAP_MAX,
        }
    }

    /// Returns how many of such peers are kept: strangers name them, or they learn of all our drives.
    pub(super) fn peers_max(self) -> Option<usize> {
        match self {
            Self::Dht => Some(limits::DHT_PEERS),
            Self::Exchanged => Some(limits::EXCHANGE_PEERS),
            Self::Bootstrap => Some(limits::BOOTSTRAP_PEERS),
            Self::Given | Self::Local | Self::Lan | Self::Remembered => None,
        }
    }

    /// Returns how many of such peers are dialed at once, and how many are connected to: anybody can name as many as they like.
    pub(super) fn share(self) -> Option<(usize, usize)> {
        match self {
            Self::Lan => Some((limits::LAN_DIALS, limits::LAN_CONNECTIONS)),
            Self::Dht => Some((limits::DHT_DIALS, limits::DHT_CONNECTIONS)),
            Self::Exchanged => Some((limits::EXCHANGE_DIALS, limits::EXCHANGE_CONNECTIONS)),
            Self::Given | Self::Local | Self::Remembered | Self::Bootstrap => None,
        }
    }
}

/// Whether peers are looked for on the local network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lan {
    /// They are not.
    #[default]
    Off,
    /// They are.
    On,
    /// They should be, but cannot, for this reason.
    Cannot(String),
}
