//! The store thread: the only place that touches an open store.
//!
//! It executes the replicator's jobs and the drive's queries in the order they come, but urgent blocks before all that wait
//! (`urgent`), and commits in groups. Each answer goes back over a channel, so that neither disk nor hash ever runs on the network thread.
//! Elsewhere: what is asked for and why (`hub`), how blocks become files (`landing`).

use std::collections::VecDeque;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use datnode_feed::{FeedSlot, MemoryStorage, Storage, Store};
use datnode_proto::{Done, Job};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use super::answers::Answers;
use super::urgent::{Overtaking, is_urgent};
use crate::error::Error;
use crate::landing::Landing;
use crate::pool::Pool;
use crate::view::Nodes;

/// A store over whichever storage: the disk's, or memory's for a drive that is only read.
pub type AnyStore = Store<Box<dyn Storage + Send>>;

/// How long what is staged may wait for the next group commit.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(5);
/// How many payload bytes may be staged before a group commit: each waits for the disk, and so much is soon fetched again.
const COMMIT_BYTES: u64 = 1 << 30;
/// After how long without anything to do a store closes its files.
const REST_AFTER: Duration = Duration::from_secs(10);
/// How many things are done at once for others while the store is changed.
const TASKS_BETWEEN: usize = 64;
/// How many bytes of journal records may be staged in memory before a group commit.
const COMMIT_STAGED_BYTES: usize = 8 << 20;

/// The store threads of this process, and who waits for them.
static RUNNING: (Mutex<Running>, Condvar) =
    (Mutex::new(Running { threads: 0, failure: None }), Condvar::new());

/// For blocks that are read, of all stores together: those of many idle ones would add up.
static BUFFERS: LazyLock<Pool> = LazyLock::new(Pool::default);

pub(super) type Query = Box<dyn FnOnce(&mut Worker) + Send>;

#[expect(
    clippy::large_enum_variant,
    reason = "a job is moved once, and boxing it would cost more than its copy"
)]
pub(super) enum Task {
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
    urgent: mpsc::Sender<Task>,
    failed: Arc<Notify>,
}

/// What the store thread owns.
pub struct Worker {
    /// The store itself.
    pub store: AnyStore,
    /// Nodes of the drive's index that were read lately.
    pub(super) nodes: Nodes,
    /// Where blocks of a clone land; without one they stay in the store.
    pub landing: Option<(Landing, FeedSlot)>,
    answers: Answers,
    /// For blocks that are read.
    pub(super) buffers: Pool,
    pub(super) uncommitted_bytes: u64,
    dirty_since: Option<Instant>,
    failure: Option<Error>,
    /// Whether one was taken: what is wrong since follows from it.
    is_told: bool,
    /// Tells that there is one.
    failed: Arc<Notify>,
    waiting: Waiting,
}

/// What waits for the thread.
struct Waiting {
    inbox: mpsc::Receiver<Task>,
    urgent: Overtaking,
    /// Queries that came while a long one was under way.
    put_off: VecDeque<Task>,
}

/// Starts the thread of a store; its answers to jobs go to `answers`.
///
/// # Errors
/// E-IO if the system has no room for one more thread.
pub fn start(store: AnyStore, answers: UnboundedSender<Done>) -> Result<StoreHandle, Error> {
    let (tasks, inbox) = mpsc::channel();
    let (urgent, urgent_inbox) = mpsc::channel();
    let failed = Arc::new(Notify::new());
    let worker = Worker {
        store,
        nodes: Nodes::default(),
        landing: None,
        answers: Answers::new(answers),
        buffers: BUFFERS.clone(),
        uncommitted_bytes: 0,
        dirty_since: None,
        failure: None,
        is_told: false,
        failed: failed.clone(),
        waiting: Waiting { inbox, urgent: Overtaking::new(urgent_inbox), put_off: VecDeque::new() },
    };
    running().threads += 1;
    let ended = Ended;
    let run = move || {
        let _ended = ended;
        worker.run();
    };
    let thread = thread::Builder::new().name("store".into()).spawn(run);
    thread.map_err(|error| Error::threads(&error))?;
    Ok(StoreHandle { tasks, urgent, failed })
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
    /// Waits for an error of the disk, which [`Worker::take_failure`] then tells; one waits at a time.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    /// Gives the thread a job of the replicator; the answer comes by the channel given to [`start`].
    pub fn job(&self, slot: FeedSlot, job: Job) {
        let is_urgent = is_urgent(&job);
        self.send(Task::Job { slot, job }, is_urgent);
    }

    fn send(&self, task: Task, is_urgent: bool) {
        let task = if is_urgent {
            let _ = self.urgent.send(task);
            Task::Urgent
        } else {
            task
        };
        // The thread ends only after the last handle, so a failed send means that it died: its panic was printed.
        let _ = self.tasks.send(task);
    }

    /// Runs `query` on the thread and gives its result.
    pub async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> T {
        self.query_as(query, false).await
    }

    /// Does the same before all that waits there, for queries that somebody waits for and that change nothing.
    pub async fn query_first<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> T {
        self.query_as(query, true).await
    }

    async fn query_as<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Worker) -> T + Send + 'static,
        is_urgent: bool,
    ) -> T {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let run = move |worker: &mut Worker| {
            let _ = reply.send(query(worker));
        };
        self.send(Task::Query(Box::new(run)), is_urgent);
        answer.await.expect("the store thread lives as long as its handles")
    }
}

impl Worker {
    fn run(mut self) {
        let mut rests = false;
        loop {
            while let Some(task) = self.waiting.urgent.next(&self.store) {
                self.take_task(task);
                self.commit_if_due();
            }
            let task = self.next_task(rests);
            rests = matches!(task, Err(RecvTimeoutError::Timeout)) && !self.store.is_dirty();
            match task {
                Ok(task) => self.take_task(task),
                Err(RecvTimeoutError::Timeout) if rests => self.rest(),
                Err(RecvTimeoutError::Timeout) => self.commit_or_warn(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.commit_if_due();
        }
        self.commit_or_warn();
        if let Err(error) = self.store.checkpoint() {
            warn!(%error, "the journal could not be emptied");
        }
        if let Some(failure) = self.failure.filter(|_| !self.is_told) {
            running().failure = Some(failure);
        }
    }

    /// Waits for something to do, until something else is due.
    fn next_task(&mut self, rests: bool) -> Result<Task, RecvTimeoutError> {
        let inbox = &self.waiting.inbox;
        if let Some(task) = self.waiting.put_off.pop_front().or_else(|| inbox.try_recv().ok()) {
            return Ok(task);
        }
        self.answers.send();
        match self.dirty_since {
            None if rests => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            None => inbox.recv_timeout(REST_AFTER),
            Some(since) => inbox.recv_timeout(COMMIT_AGE_MAX.saturating_sub(since.elapsed())),
        }
    }

    /// Lets go what is not needed for a while: of many stores most have nothing to do.
    fn rest(&mut self) {
        if let Err(error) = self.store.rest() {
            warn!(%error, "the journal could not be emptied");
        }
    }

    fn take_task(&mut self, task: Task) {
        match task {
            Task::Job { slot, job } => {
                if matches!(job, Job::Read { .. }) {
                    self.write_out();
                }
                let is_urgent = is_urgent(&job);
                let done = self.execute(slot, job);
                self.answers.add(done, is_urgent);
            }
            Task::Query(query) => {
                self.answers.send();
                self.write_out();
                query(self);
            }
            Task::Urgent => {
                if let Some(task) = self.waiting.urgent.turn() {
                    self.take_task(task);
                }
            }
        }
    }

    /// Does a long change of the store, which calls what it is given now and then: then peers get what they asked for meanwhile.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut AnyStore, &mut dyn FnMut(&mut AnyStore)) -> T,
    ) -> T {
        let nothing = Box::new(MemoryStorage::new()) as Box<dyn Storage + Send>;
        let nothing = Store::open(nothing).expect("memory has no faults");
        let mut store = std::mem::replace(&mut self.store, nothing);
        let done = change(&mut store, &mut |store| {
            std::mem::swap(store, &mut self.store);
            self.serve();
            self.answers.send();
            std::mem::swap(store, &mut self.store);
        });
        self.store = store;
        done
    }

    /// Does what waits: urgent things and jobs. Other queries may change what is being changed.
    fn serve(&mut self) {
        for _ in 0..TASKS_BETWEEN {
            if let Some(task) = self.waiting.urgent.next(&self.store) {
                self.take_task(task);
                continue;
            }
            let Ok(task) = self.waiting.inbox.try_recv() else { return };
            match task {
                Task::Query(_) => self.waiting.put_off.push_back(task),
                Task::Job { .. } | Task::Urgent => self.take_task(task),
            }
        }
    }

    /// Makes all that was stored so far durable.
    ///
    /// # Errors
    /// What the store says.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.answers.send();
        if let Some((landing, _)) = &mut self.landing {
            landing.write_out()?;
        }
        self.store.commit().map_err(Error::store)?;
        self.uncommitted_bytes = 0;
        self.dirty_since = None;
        match &mut self.landing {
            Some((landing, _)) => landing.name_ripe(&mut self.store),
            None => Ok(()),
        }
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
        let failure = self.failure.take();
        self.is_told |= failure.is_some();
        failure
    }

    pub(super) fn fail(&mut self, error: Error) {
        warn!(error = error.message(), "the store cannot go on");
        self.failure.get_or_insert(error);
        self.failed.notify_one();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use datnode_feed::{BlockIndex, SecretKey};
    use datnode_proto::{FeedId, PeerId, RequestId, Urgency};
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    const HANGS: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn peers_get_what_they_asked_for_while_the_store_is_changed_and_queries_wait() {
        let storage = Box::new(MemoryStorage::new()) as Box<dyn Storage + Send>;
        let (mut store, secret) = (Store::open(storage).unwrap(), SecretKey::from_bytes([1; 32]));
        let slot = store.add_feed(secret.public()).unwrap();
        store.append(slot, b"block").unwrap();
        store.sign(slot, &secret).unwrap();
        store.commit().unwrap();
        let (answers, mut answered) = unbounded_channel();
        let (store, read) = (start(store, answers).unwrap(), Arc::new(AtomicBool::new(false)));
        let seen = read.clone();
        let long = store.query(move |worker| {
            worker.change(|store, between| {
                let until = Instant::now() + HANGS;
                while !seen.load(Ordering::Relaxed) && Instant::now() < until {
                    between(store);
                }
                (seen.load(Ordering::Relaxed), store.length(slot))
            })
        });
        let asks = async {
            let other = store.query(|worker| worker.store.length(FeedSlot(0)));
            let (peer, feed, request) = (PeerId(0), FeedId(0), RequestId(0));
            let (urgency, block, levels) = (Urgency::default(), BlockIndex(0), 0);
            store.job(slot, Job::Read { peer, feed, request, urgency, block, levels });
            let done = answered.recv().await.unwrap();
            let Done::Read { answer: Some((_, bytes)), .. } = done else { panic!("{done:?}") };
            assert_eq!(*bytes, *b"block");
            read.store(true, Ordering::Relaxed);
            other.await
        };
        let (done, length) = tokio::join!(long, asks);
        assert_eq!((done, length), ((true, 1), 1));
    }
}
