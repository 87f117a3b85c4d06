//! Origins of a drive beside its peers: each is met, replicated with, and met again when it was lost.
//!
//! Elsewhere: what an origin is and how it is met (`origin`), what came of it for those who wait (`sought`).

use std::time::{Duration, Instant};

use datnode_feed::PublicKey;

use super::hub::Hub;
use super::network::Network;
use super::session::Ended;
use crate::address::Link;
use crate::origin::{Contact, Origin};

/// How long an origin that was lost is left alone, at first.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause doubles each time, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// An origin that lasted so long is met again as soon as one that was never lost.
const STEADY: Duration = Duration::from_secs(5);

impl Network {
    /// Fetches a drive from an origin as well, until the network forgets the drive; `first` is a contact that was made already.
    ///
    /// An origin that is attended is not attended twice.
    pub fn attend(
        &mut self,
        hub: &Hub,
        drive: PublicKey,
        origin: Origin,
        first: Option<Contact>,
        limit: Option<Duration>,
    ) {
        let name = origin.to_string();
        if self.attends(&drive, &name) {
            return;
        }
        hub.lock().sought.seek_origin(drive, &name);
        let (hub, called) = (hub.clone(), name.clone());
        let task = async move { attend(&hub, drive, &origin, &called, first, limit).await };
        self.attend_by(drive, name, task);
    }
}

async fn attend(
    hub: &Hub,
    drive: PublicKey,
    origin: &Origin,
    name: &str,
    mut first: Option<Contact>,
    limit: Option<Duration>,
) {
    let failed = |why: &str| hub.lock().sought.origin_failed(drive, name, why);
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        let contact = match first.take() {
            Some(contact) => Ok(contact),
            None => origin.contact(limit).await,
        };
        match contact {
            Ok(contact) if contact.key != drive => {
                failed(&format!("{name} holds another drive, {}", Link(&contact.key)));
                return;
            }
            Ok(contact) => {
                hub.lock().sought.origin_met(drive, name);
                let ended = contact.replicate(hub).await;
                tracing::info!(origin = name, ?ended, "an origin ended");
                match ended {
                    Ended::Gone(why) => {
                        failed(&format!("{name}: {why}"));
                        if began.elapsed() >= STEADY {
                            pause = PAUSE;
                        }
                    }
                    Ended::Fault(fault) => failed(&format!("{name}: {fault}")),
                }
            }
            Err(error) => failed(error.message()),
        }
        tokio::time::sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}
