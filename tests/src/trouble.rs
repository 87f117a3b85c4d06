//! What may be wrong with a computer's cable: packets that are lost, too slow, or of a kind that nobody passes on.
//!
//! It is the computer's own packet filter that does it, and its queue. There is no delay: kernels without `sch_netem` have none to offer.

use super::network::Namespace;

/// What is wrong with a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Of so many in a hundred packets that come in, each by chance, nothing is seen. Said of both ends, it is so each way.
    Loss(u8),
    /// Nothing comes in or goes out, and nobody is told.
    Silence,
    /// Multicast does not pass.
    NoMulticast,
    /// So many kilobits leave in a second, and what waits for longer than a tenth of one is lost.
    Rate(u32),
}

impl Trouble {
    /// Has it begin at a computer, in place of what was.
    pub(crate) fn begin(self, at: &Namespace) -> Result<(), String> {
        at.ip(&format!("nft '{}'; {}", self.rules(), self.queue()))
    }

    /// Returns what `nft` is told.
    fn rules(self) -> String {
        let (comes, leaves) = match self {
            Self::None | Self::Rate(_) => (String::new(), ""),
            Self::Loss(percent) => {
                (format!("iifname eth0 numgen random mod 100 < {percent} drop;"), "")
            }
            Self::Silence => ("iifname eth0 drop;".to_owned(), "oifname eth0 drop;"),
            // What IPv6 needs to find the way to anybody at all goes by multicast as well.
            Self::NoMulticast => ("iifname eth0 udp dport 5353 drop;".to_owned(), ""),
        };
        format!(
            "table inet trouble {{}}; delete table inet trouble; table inet trouble {{ \
             chain comes {{ type filter hook input priority filter; {comes} }}; \
             chain leaves {{ type filter hook output priority filter; {leaves} }}; \
             }}"
        )
    }

    /// Returns what sets the queue.
    fn queue(self) -> String {
        match self {
            Self::Rate(kilobits) => format!(
                "tc qdisc replace dev eth0 root tbf rate {kilobits}kbit burst 16kb latency 100ms"
            ),
            _ => "tc qdisc del dev eth0 root 2>/dev/null || true".to_owned(),
        }
    }
}
