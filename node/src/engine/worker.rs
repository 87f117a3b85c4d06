//! The store thread: the only place that touches an open store.
//!
//! It executes the replicator's jobs and the drive's queries in the order they come, but urgent reads before all that wait, and
//! commits in groups. Each answer goes back over a channel, so that neither disk nor hash ever runs on the network thread.
//! Elsewhere: what is asked for and why (`hub`), how blocks become files (`landing`).

use std::sync::{Condvar, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use datnode_feed::{FeedSlot, Storage, Store};
use datnode_proto::{Done, Job, Priority};
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use crate::error::Error;
use crate::landing::Landing;
use crate::pool::Pool;

/// A store over whichever storage: the disk's, or memory's for a drive that is only read.
pub type AnyStore = Store<Box<dyn Storage + Send>>;

/// How long what is staged may wait for the next group commit.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(5);
/// How many payload bytes may be staged before a group commit.
const COMMIT_BYTES: u64 = 256 << 20;
/// How many bytes of journal records may be staged in memory before a group commit.
const COMMIT_STAGED_BYTES: usize = 8 << 20;

/// The store threads of this process, and who waits for them.
static RUNNING: (Mutex<Running>, Condvar) =
    (Mutex::new(Running { threads: 0, failure: None }), Condvar::new());

type Query = Box<dyn FnOnce(&mut Worker) + Send>;

#[expect(
    clippy::large_enum_variant,
    reason = "a job is moved once, and boxing it would cost more than its copy"
)]
enum Task {
    Job {
        slot: FeedSlot,
        job: Job,
    },
    Query(Query),
    /// There is something urgent, which overtakes what waits; this alone waits its turn.
    Urgent,
}

/// A handle on a store thread; the thread commits and ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    tasks: mpsc::Sender<Task>,
    urgent: mpsc::Sender<(FeedSlot, Job)>,
}

/// What the store thread owns.
pub struct Worker {
    /// The store itself.
    pub store: AnyStore,
    /// Where blocks of a clone land; without one they stay in the store.
    pub landing: Option<(Landing, FeedSlot)>,
    answers: UnboundedSender<Done>,
    /// For blocks that are read.
    pub(super) buffers: Pool,
    pub(super) uncommitted_bytes: u64,
    dirty_since: Option<Instant>,
    failure: Option<Error>,
}

/// Starts the thread of a store; its answers to jobs go to `answers`.
pub fn start(store: AnyStore, answers: UnboundedSender<Done>) -> StoreHandle {
    let (tasks, inbox) = mpsc::channel();
    let (urgent, urgent_inbox) = mpsc::channel();
    let worker = Worker {
        store,
        landing: None,
        answers,
        buffers: Pool::default(),
        uncommitted_bytes: 0,
        dirty_since: None,
        failure: None,
    };
    running().threads += 1;
    let run = move || {
        let _ended = Ended;
        worker.run(&inbox, &urgent_inbox);
    };
    let thread = thread::Builder::new().name("store".into()).spawn(run);
    thread.expect("the system has room for one more thread");
    StoreHandle { tasks, urgent }
}

/// Waits until the threads of all stores have made durable what they have, but not for ever. Their handles are to be dropped before.
///
/// # Errors
/// What the disk says of what was last to be made durable.
pub fn wait_for_stores(at_most: Duration) -> Result<(), Error> {
    let waited = RUNNING.1.wait_timeout_while(running(), at_most, |running| running.threads > 0);
    let (mut running, _) = waited.expect("no code panics while it holds this");
    if running.threads > 0 {
        warn!(
            "the disk is slow: what was fetched in the last seconds may have to be fetched again"
        );
    }
    running.failure.take().map_or(Ok(()), Err)
}

struct Running {
    threads: usize,
    /// The last error of a thread that ended, which nobody took.
    failure: Option<Error>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.0.lock().expect("no code panics while it holds this")
}

/// Says when it is dropped that a thread ended.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        running().threads -= 1;
        RUNNING.1.notify_all();
    }
}

impl StoreHandle {
    /// Gives the thread a job of the replicator; the answer comes by the channel given to [`start`].
    pub fn job(&self, slot: FeedSlot, job: Job) {
        let task = if is_urgent(&job) {
            let _ = self.urgent.send((slot, job));
            Task::Urgent
        } else {
            Task::Job { slot, job }
        };
        // The thread ends only after the last handle, so a failed send means that it died: its panic was printed.
        let _ = self.tasks.send(task);
    }

    /// Runs `query` on the thread and gives its result.
    pub async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> T {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let run = move |worker: &mut Worker| {
            let _ = reply.send(query(worker));
        };
        let _ = self.tasks.send(Task::Query(Box::new(run)));
        answer.await.expect("the store thread lives as long as its handles")
    }
}

/// Tells whether a job may overtake others: reads alone change nothing that others count on.
fn is_urgent(job: &Job) -> bool {
    matches!(job, Job::Read { urgency, .. } if urgency.priority > Priority(0))
}

impl Worker {
    fn run(mut self, inbox: &mpsc::Receiver<Task>, urgent: &mpsc::Receiver<(FeedSlot, Job)>) {
        loop {
            while let Ok((slot, job)) = urgent.try_recv() {
                self.write_out();
                self.execute(slot, job);
            }
            let task = match self.dirty_since {
                None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(since) => inbox.recv_timeout(COMMIT_AGE_MAX.saturating_sub(since.elapsed())),
            };
            match task {
                Ok(Task::Job { slot, job }) => {
                    if matches!(job, Job::Read { .. }) {
                        self.write_out();
                    }
                    self.execute(slot, job);
                }
                Ok(Task::Query(query)) => {
                    self.write_out();
                    query(&mut self);
                }
                // It was found before this task was taken, or will be now.
                Ok(Task::Urgent) => continue,
                Err(mpsc::RecvTimeoutError::Timeout) => self.commit_or_warn(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            self.commit_if_due();
        }
        self.commit_or_warn();
        if let Err(error) = self.store.checkpoint() {
            warn!(%error, "the journal could not be emptied");
        }
        if let Some(failure) = self.failure {
            running().failure = Some(failure);
        }
    }

    /// Makes all that was stored so far durable.
    ///
    /// # Errors
    /// What the store says.
    pub fn commit(&mut self) -> Result<(), Error> {
        if let Some((landing, _)) = &mut self.landing {
            landing.write_out()?;
        }
        self.store.commit().map_err(Error::store)?;
        self.uncommitted_bytes = 0;
        self.dirty_since = None;
        Ok(())
    }

    /// Writes what landed and still waits in memory, so that it can be read.
    fn write_out(&mut self) {
        if let Some((landing, _)) = &mut self.landing
            && let Err(error) = landing.write_out()
        {
            self.fail(error);
        }
    }

    /// Takes the last error of the disk, if there was one since the last call.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    pub(super) fn fail(&mut self, error: Error) {
        warn!(error = error.message(), "the store cannot go on");
        self.failure.get_or_insert(error);
    }

    pub(super) fn answer(&self, done: Done) {
        // Without a listener the hub is gone, and nobody waits.
        let _ = self.answers.send(done);
    }

    fn commit_if_due(&mut self) {
        if self.store.is_dirty() && self.dirty_since.is_none() {
            self.dirty_since = Some(Instant::now());
        }
        let old = self.dirty_since.is_some_and(|since| since.elapsed() >= COMMIT_AGE_MAX);
        let large = self.uncommitted_bytes >= COMMIT_BYTES
            || self.store.staged_bytes() >= COMMIT_STAGED_BYTES;
        if old || large {
            self.commit_or_warn();
        }
    }

    pub(super) fn commit_or_warn(&mut self) {
        if let Err(error) = self.commit() {
            self.fail(error);
            self.uncommitted_bytes = 0;
            self.dirty_since = None;
        }
    }
}
