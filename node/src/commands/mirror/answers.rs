//! What a mirror answers to other processes of its user: as a share does, of the drive that they ask about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::super::peers::report;
use super::super::reached;
use super::super::serving::{at_work, reload, state};
use super::super::verify;
use super::member::{House, Member};
use crate::address::Link;
use crate::control::{Answers, Question};
use crate::error::{Code, Error};

/// The drives that are mirrored, by the names that others ask with.
pub(super) type Members = Arc<Mutex<BTreeMap<String, Arc<Member>>>>;

/// Somebody who wants the list of drives to be read again, and is told when it was.
pub(super) type Reread = oneshot::Sender<()>;

/// Returns what answers other processes.
pub(super) fn answers(
    house: &House,
    members: &Members,
    reread: mpsc::UnboundedSender<Reread>,
) -> Answers {
    let (house, members, began) = (house.clone(), members.clone(), Instant::now());
    Arc::new(move |drive, question| {
        let (house, reread) = (house.clone(), reread.clone());
        let member = drive.and_then(|name| {
            let members = members.lock().expect("no code panics while it holds this");
            members.get(&name).cloned()
        });
        Box::pin(async move {
            match (question, member) {
                (Question::Reload, _) => {
                    let said = reload(&house.hub)?;
                    let (tell, told) = oneshot::channel();
                    // Without an answer the mirror is about to end.
                    if reread.send(tell).is_ok() {
                        let _ = told.await;
                    }
                    Ok(said)
                }
                (Question::Reach, _) => Ok(reached::report(house.hub.sought().outside())),
                (Question::Peers, None) => Ok(report(&house.hub.peers(), |_| None)),
                (question, Some(member)) => about(question, &member, &house, began).await,
                (_, None) => {
                    Err(Error::usage("this process mirrors several drives, and not that one"))
                }
            }
        })
    })
}

async fn about(
    question: Question,
    member: &Member,
    house: &House,
    began: Instant,
) -> Result<Value, Error> {
    let (drive, latest) = {
        let state = member.state();
        (state.drive.clone(), state.latest.clone())
    };
    let link = Link(&member.key).to_string();
    let drive = drive.ok_or_else(|| {
        Error::new(Code::Locked, "the mirror is about to open this drive").hint("try again")
    })?;
    let peers = drive.hub.peers_of(&drive.key);
    match question {
        Question::Peers => Ok(report(&peers, |peer| drive.percent_of(peer))),
        Question::State => Ok(state(&drive, &peers, true, began)),
        Question::Fetch { start, end } => {
            if house.ledger.as_ref().is_some_and(|ledger| ledger.is_full()) {
                let message = "the quota of the mirror is reached: nothing more is fetched";
                return Err(Error::new(Code::Space, message).hint(format!("datnode clone {link}")));
            }
            let latest = match latest {
                Some(latest) => latest,
                None => drive.latest().await?,
            };
            latest.bring(start..end).await.map(|()| json!({}))
        }
        Question::Check { full } => verify::check(&drive, full).await,
        Question::Edit(_) => Err(Error::read_only(&link)
            .context(format!("process {} mirrors it, and changes nothing", std::process::id()))),
        // What it drops it would fetch again.
        Question::Clear(_) => Err(at_work(&drive.key)),
        Question::Reload | Question::Reach => unreachable!("this is about no drive"),
    }
}
