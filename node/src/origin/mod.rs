//! Origins: places that a drive can be fetched from and that are no peers, since nobody has to find them. They are named as people
//! name them, and trusted no more than any peer.
//!
//! ```text
//! ssh://[USER@]HOST[:PORT]/PATH       a computer that one may log in to, with datnode on it
//! https://HOST[:PORT]/PATH            a folder that datnode publish wrote, on any web server; http:// as well
//! ```
//!
//! Elsewhere: how long one is tried again (`engine::origins`), where they are kept (`drives`).

mod place;
mod ssh;
pub mod stdio;
mod web;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use datnode_feed::PublicKey;

use crate::engine::{About, Ended, Hub};
use crate::error::Error;
pub use ssh::Ssh;
pub use web::Web;

/// How many origins a drive has at most, here.
pub const ORIGINS_MAX: usize = 16;

/// A place that a drive can be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A computer with datnode on it, by ssh.
    Ssh(Ssh),
    /// What is published on a web server.
    Web(Web),
}

impl Origin {
    /// Tells whether a word looks like an origin, whatever else is wrong with it.
    pub fn is_like(word: &[u8]) -> bool {
        let begins = |scheme: &str| {
            let start = word.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
        };
        ["ssh://", "http://", "https://"].into_iter().any(begins)
    }

    /// Asks the place which drive it has. What comes of it is trusted by nobody before it is verified against that drive's key.
    ///
    /// # Errors
    /// E-NOPEERS if it cannot be reached or has nothing to say within `limit`, E-NOTDRIVE if it has no drive there, and what
    /// else a datnode there says.
    pub async fn contact(&self, limit: Option<Duration>) -> Result<Contact, Error> {
        let contact = async {
            match self {
                Self::Ssh(place) => {
                    place.connect().await.map(|line| (line.key(), Way::Ssh(Box::new(line))))
                }
                Self::Web(place) => place.connect().await.map(|site| (site.key(), Way::Web(site))),
            }
        };
        let limit = limit.unwrap_or(Duration::MAX);
        let (key, way) = tokio::time::timeout(limit, contact)
            .await
            .unwrap_or_else(|_| Err(self.silent(limit)))?;
        Ok(Contact { key, way, name: self.to_string() })
    }

    fn silent(&self, limit: Duration) -> Error {
        let waited = crate::cli::units::Span(limit);
        Error::new(crate::error::Code::NoPeers, format!("{self} does not answer"))
            .context(format!("waited {waited}"))
            .hint("wait longer: --wait 5m (--wait 0 = no limit)")
    }
}

/// An origin that said which drive it has.
pub struct Contact {
    /// That drive.
    pub key: PublicKey,
    name: String,
    way: Way,
}

enum Way {
    Ssh(Box<ssh::Line>),
    Web(web::Site),
}

impl Contact {
    /// Replicates with it until it has no more to say, or is thrown out; tells why.
    pub async fn replicate(self, hub: &Hub) -> Ended {
        let about =
            About { name: self.name.clone(), address: self.name, punched: false, is_local: false };
        let hub = hub.clone();
        // Somebody who waits for this may wait no longer; the session then ends as others do.
        let session = tokio::spawn(async move {
            match self.way {
                Way::Ssh(line) => line.replicate(&hub, about).await,
                Way::Web(site) => site.replicate(&hub, about).await,
            }
        });
        session.await.unwrap_or_else(|error| Ended::Gone(error.to_string()))
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match place::scheme(text) {
            Some(("ssh", rest)) => ssh::Ssh::parse(rest).map(Self::Ssh),
            Some((scheme, rest)) => web::Web::parse(rest, scheme == "https").map(Self::Web),
            None => {
                let shown = crate::cli::escape::text(text);
                Err(format!("{shown} is no origin: one begins with ssh://, https:// or http://"))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(place) => place.fmt(f),
            Self::Web(place) => place.fmt(f),
        }
    }
}
