//! What a mirror says of what happens: lines that stay, and records for scripts. A record that nobody reads in time is dropped, so that
//! nobody who stopped reading holds up what is served.

use std::time::Instant;

use datnode_feed::PublicKey;
use serde_json::json;

use super::member::{Event, House};
use super::show::{self, Screen};
use super::{Mirror, all};
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Span, Things};
use crate::engine::Traffic;
use crate::error::Error;
use crate::runtime;

impl Mirror {
    /// Says what came of reading the list again.
    pub(super) fn tell_list(&self, screen: &mut Screen, begun: &[PublicKey], gone: &[PublicKey]) {
        if self.out.json {
            let names = |keys: &[PublicKey]| keys.iter().map(show::drive).collect::<Vec<_>>();
            self.out.progress_record(
                &json!({ "type": "list", "begun": names(begun), "ended": names(gone) }),
            );
            return;
        }
        let to = escape::path(&self.house.to);
        let kept = if gone.is_empty() {
            String::new()
        } else {
            format!("; what is stored of them stays in {to}")
        };
        let (new, old) = (Things(begun.len() as u64, "new drive"), gone.len());
        screen.say(&format!("the list was read again: {new}, {old} no longer mirrored{kept}"));
    }

    /// Says when the quota is reached, and when there is room again.
    pub(super) fn tell_quota(&mut self, screen: &mut Screen) {
        let is_full = all(&self.members).iter().any(|member| member.state().is_full);
        if std::mem::replace(&mut self.is_full, is_full) == is_full {
            return;
        }
        if self.out.json {
            self.out
                .progress_record(&json!({ "type": "quota", "quota": show::quota(&self.house) }));
        } else if is_full {
            screen.say("the quota is reached: nothing more is fetched");
        } else {
            screen.say("there is room again: the rest is fetched");
        }
    }

    /// Says what happened to a drive.
    pub(super) fn tell(&mut self, screen: &mut Screen, event: &Event) {
        let (Event::Whole(key, ..) | Event::Damaged(key, _) | Event::Trouble(key, _)) = event;
        let Some(member) = self.members().get(&runtime::name(key)).cloned() else { return };
        let name = show::name(&member);
        match event {
            Event::Whole(_, version, before) => {
                self.troubles.remove(key);
                if self.out.json {
                    self.out.progress_record(&show::whole(key, version, *before));
                    return;
                }
                let counts = version.change.counts;
                let all = format!("{}, {}", Things(counts.files, "file"), Size(counts.bytes));
                let id = version.id.to_string();
                screen.say(&format!(
                    "{name}  version {} · {} is here   {all}",
                    version.number,
                    &id[..6]
                ));
            }
            Event::Damaged(_, blocks) if self.out.json => {
                let drive = show::drive(key);
                self.out.progress_record(
                    &json!({ "type": "damaged", "drive": drive, "blocks": blocks }),
                );
            }
            Event::Damaged(_, blocks) => {
                let blocks = Things(*blocks, "block");
                screen
                    .say(&format!("{name}  {blocks} not as signed: dropped, to be fetched again"));
            }
            Event::Trouble(_, error) => {
                let said = self.troubles.insert(*key, error.message().to_owned());
                if said.as_deref() != Some(error.message()) {
                    screen.wipe();
                    self.out.warn(&error.clone().context(format!("drive {name}")));
                }
            }
        }
    }
}

/// Says what was done.
pub(super) fn sum_up(house: &House, began: Instant, out: &Out) -> Result<(), Error> {
    let Traffic { bytes_out, bytes_in, served } = house.hub.traffic();
    let took = began.elapsed();
    if out.json {
        return out.record(&json!({
            "type": "done", "bytes_out": bytes_out, "bytes_in": bytes_in, "served": served,
            "reused": house.copier.found(), "seconds": took.as_secs_f64(), "quota": show::quota(house),
        }));
    }
    let (peers, sent) = (Things(served, "peer"), Size(bytes_out));
    out.say(format_args!("Served {sent} to {peers} in {}, took in {}", Span(took), Size(bytes_in)));
    let reused = house.copier.found();
    if reused > 0 {
        out.say(format_args!("  {} came from other drives here", Size(reused)));
    }
    Ok(())
}
