//! A web server that hosts what `datnode publish` wrote: an untrusted peer that knows no more than files.
//!
//! What it sends goes through the protocol of every peer: a replicator answers here for the server, out of ranges of its files, at
//! the other end of a pipe in memory. So all limits and all that is verified are in one place, and a lie is a peer's lie.
//! Elsewhere: one request (`http`), the files as a feed (`feed`), the other end of the pipe (`serve`).

mod feed;
mod http;
mod serve;

use std::fmt;
use std::sync::Arc;

use datnode_feed::PublicKey;
use datnode_proto::Binding;

use super::place::{Authority, escape, split, unescape};
use crate::cli::escape as shown;
use crate::engine::{About, Ended, Hub};
use crate::error::{Code, Error};
use crate::keys::random;
use crate::published::heads::HEADS_LEN_MAX;
use crate::published::{HEADS, Heads};
use http::{Client, WebError};

/// How much is in the pipe at most, each way.
const PIPE_LEN: usize = 256 << 10;

/// A folder of a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    secure: bool,
    authority: Authority,
    /// Escaped, with a slash at both ends.
    path: String,
}

impl Web {
    /// Reads what follows `http://` or `https://`.
    pub(super) fn parse(rest: &str, secure: bool) -> Result<Self, String> {
        let (authority, path) = split(rest)?;
        if authority.user.is_some() {
            return Err("it names a user, and who reads a drive needs none".to_owned());
        }
        if path.contains(['?', '#']) {
            return Err("it holds a ? or #, which a folder has not".to_owned());
        }
        let path = escape(&unescape(path)?);
        let names = path.split('/').filter(|name| !name.is_empty());
        let path: String = std::iter::once(String::from("/"))
            .chain(names.map(|name| format!("{name}/")))
            .collect();
        Ok(Self { secure, authority, path })
    }

    /// Asks which drive is there.
    pub(super) async fn connect(&self) -> Result<Site, Error> {
        let client = Arc::new(Client::new(self));
        let heads = read_heads(&client).await.map_err(|error| {
            let code = match error {
                WebError::Missing(_) => Code::NotDrive,
                _ => Code::NoPeers,
            };
            let error = Error::new(code, format!("{self} cannot be fetched from: {error}"));
            error.hint("datnode help origins   tells what a web server has to have")
        })?;
        Ok(Site { client, heads })
    }
}

async fn read_heads(client: &Client) -> Result<Heads, WebError> {
    let bytes = client.whole(HEADS, HEADS_LEN_MAX).await?;
    Heads::decode(&bytes).map_err(WebError::Heads)
}

impl fmt::Display for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path.trim_end_matches('/'))
    }
}

/// What is published at a place.
pub(super) struct Site {
    client: Arc<Client>,
    heads: Heads,
}

impl Site {
    pub(super) fn key(&self) -> PublicKey {
        self.heads.key
    }

    /// Replicates until the server has no more to give.
    pub(super) async fn replicate(self, hub: &Hub, about: About) -> Ended {
        let ends = random().and_then(|ours| Ok((ours, random()?)));
        let (ours, theirs) = match ends {
            Ok((ours, theirs)) => (ours.to_vec(), theirs.to_vec()),
            Err(error) => return Ended::Gone(error.message().to_owned()),
        };
        let (near, far) = tokio::io::duplex(PIPE_LEN);
        let there = Binding { ours: theirs.clone(), theirs: ours.clone() };
        let served = serve::serve(self.client, self.heads, far, there);
        let (read, write) = tokio::io::split(near);
        let replicated = hub.replicate(read, write, Binding { ours, theirs }, about);
        // Each ends when the other does: the pipe between them is closed then.
        match tokio::join!(replicated, served) {
            (Ended::Fault(fault), _) => Ended::Fault(fault),
            (Ended::Gone(_), Err(error)) => Ended::Gone(shown::controls(&error.to_string())),
            (gone, Ok(())) => gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Origin;

    #[test]
    fn a_folder_has_one_spelling() {
        for (typed, right) in [
            ("HTTPS://host", "https://host"),
            ("http://host:80//a///b/", "http://host:80/a/b"),
            ("https://[::1]:8443/a b/%7Ec", "https://[::1]:8443/a%20b/~c"),
        ] {
            let origin: Origin = typed.parse().unwrap();
            assert_eq!(origin.to_string(), right);
            assert_eq!(right.parse(), Ok(origin));
        }
        for bad in
            ["https://", "http://me@host/", "http://host/a?b", "http://host/a#b", "http://-h/"]
        {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
