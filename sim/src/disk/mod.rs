//! A disk that crashes and fails on command: the third implementation of [`Storage`].
//!
//! What is written can be read at once and is *pending* until its file is synced. Each operation is logged, so that a run can
//! be gone through again and crashed behind every step.
//! Invariant: `seen` is `durable` with `pending` applied in order, unless a sync lied.
//! Elsewhere: what a crash keeps (`crash`), how operations fail (`fault`), names, lengths and bytes (`files`).

mod crash;
mod fault;
mod files;

use std::cell::RefCell;
use std::rc::Rc;

use datnode_feed::{FileId, Storage, StorageError};

pub use crash::{Images, image};
pub use fault::{Class, Counts, Fault, FaultKind, SyncOf};
pub use files::{Files, Inode, Item, Name, SECTOR_BYTES};

/// No file is longer than this.
const DISK_BYTES: u64 = 64 << 20;

/// One operation, as the log has it.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Something changed.
    Change(Vec<Item>),
    /// A file was synced.
    Sync(FileId),
    /// All working files were synced.
    SyncWorking,
}

/// What is on a disk, and what is on its way there.
#[derive(Clone, Debug, Default)]
pub struct State {
    durable: Files,
    seen: Files,
    pending: Vec<Item>,
    working_files: u32,
}

impl State {
    /// Returns the state behind a power cut that left these files.
    pub fn of(files: Files) -> Self {
        let working_files = files.next_working();
        Self { seen: files.clone(), durable: files, pending: Vec::new(), working_files }
    }

    /// Returns what is there for sure.
    pub const fn durable(&self) -> &Files {
        &self.durable
    }

    /// Returns what can be read.
    pub const fn seen(&self) -> &Files {
        &self.seen
    }

    /// Returns what a crash may lose.
    pub fn pending(&self) -> &[Item] {
        &self.pending
    }

    /// Does an operation again.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Change(items) => {
                items.iter().for_each(|item| self.seen.apply(item));
                self.pending.extend(items.iter().cloned());
            }
            Operation::Sync(file) => {
                self.settle(|item| item.inode() == Some(Inode::Store(*file)));
            }
            Operation::SyncWorking => self.settle(Item::is_working),
        }
    }

    fn settle(&mut self, is_synced: impl Fn(&Item) -> bool) {
        let durable = &mut self.durable;
        self.pending.retain(|item| {
            let synced = is_synced(item);
            if synced {
                durable.apply(item);
            }
            !synced
        });
    }

    /// Loses what is pending of a sync that failed, as systems do whose pages become clean all the same. What the file
    /// system keeps a journal of is not lost: names, cuts, and the lengths of files that still read as they were written.
    fn lose(&mut self, operation: &Operation, forget: bool) {
        let is_meant = |item: &Item| match operation {
            Operation::Sync(file) => item.inode() == Some(Inode::Store(*file)),
            _ => item.is_working(),
        };
        let is_lost = |item: &Item| match item {
            Item::Bytes(..) => is_meant(item),
            Item::Length(..) => forget && is_meant(item),
            _ => false,
        };
        let lost: Vec<Inode> =
            self.pending.iter().filter(|item| is_lost(item)).filter_map(Item::inode).collect();
        self.pending.retain(|item| !is_lost(item));
        if !forget {
            return;
        }
        for inode in lost {
            self.seen.take(inode, &self.durable);
            let mine = self.pending.iter().filter(|item| item.inode() == Some(inode));
            mine.filter(|item| !matches!(item, Item::Entry(..)))
                .for_each(|item| self.seen.apply(item));
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inner {
    state: State,
    log: Vec<Operation>,
    counts: Counts,
    fault: Option<Fault>,
    skipped: Option<SyncOf>,
    /// How many operations failed so far.
    failed: u64,
}

/// A disk. A clone is a second handle on the same one, so that it outlives the store over it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Rc<RefCell<Inner>>);

/// What a class of operations answers.
enum Answer {
    Do,
    Fail(FaultKind),
}

impl Disk {
    /// Makes an empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a disk of a state.
    pub fn of(state: State) -> Self {
        Self(Rc::new(RefCell::new(Inner { state, ..Inner::default() })))
    }

    /// Returns a copy of what is on it and on its way there.
    pub fn state(&self) -> State {
        self.0.borrow().state.clone()
    }

    /// Makes operations fail from here on, or none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut inner = self.0.borrow_mut();
        inner.fault = fault;
        inner.counts = Counts::default();
        inner.failed = 0;
    }

    /// Says yes to all syncs of a kind from here on and does nothing, as if the program over it had left them out.
    pub fn skip(&self, syncs: SyncOf) {
        self.0.borrow_mut().skipped = Some(syncs);
    }

    /// Returns how many operations failed since the fault was set.
    pub fn failed(&self) -> u64 {
        self.0.borrow().failed
    }

    /// Returns how many operations there were since the fault was set.
    pub fn counts(&self) -> Counts {
        self.0.borrow().counts
    }

    /// Returns how many operations the log has.
    pub fn logged(&self) -> usize {
        self.0.borrow().log.len()
    }

    /// Returns the log.
    pub fn log(&self) -> Vec<Operation> {
        self.0.borrow().log.clone()
    }

    /// Writes into a working file, making it if need be.
    ///
    /// # Errors
    /// What the fault says.
    pub fn write_working(
        &self,
        path: &[u8],
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let mut inner = self.0.borrow_mut();
        let name = Name::Working(path.to_vec());
        let next = Inode::Working(inner.state.working_files);
        inner.state.working_files += 1;
        let inode = inner.state.seen.inode(&name).unwrap_or(next);
        let shown = String::from_utf8_lossy(path);
        inner
            .write(name, inode, offset, bytes)
            .map_err(|kind| failure("write", shown, offset, kind))
    }

    /// Gives a working file another name.
    ///
    /// # Errors
    /// What the fault says.
    pub fn rename_working(&self, from: &[u8], to: &[u8]) -> Result<(), StorageError> {
        let mut inner = self.0.borrow_mut();
        let item = Item::Rename(Name::Working(from.to_vec()), Name::Working(to.to_vec()));
        let shown = String::from_utf8_lossy(from);
        inner.change(vec![item]).map_err(|kind| failure("rename", shown, 0, kind))
    }

    /// Tells whether there is a working file.
    pub fn has_working(&self, path: &[u8]) -> bool {
        self.0.borrow().state.seen.inode(&Name::Working(path.to_vec())).is_some()
    }
}

impl Inner {
    fn answer(&mut self, class: Class) -> Answer {
        let counts = &mut self.counts;
        match class {
            Class::Read => counts.reads += 1,
            Class::Write | Class::Change => counts.writes += 1,
            Class::Sync => counts.syncs += 1,
        }
        let Some(Fault { at, kind }) = self.fault else { return Answer::Do };
        let is_meant = kind.class() == class || (kind == FaultKind::Off && class != Class::Read);
        let number = counts.of(kind.class()) - u64::from(is_meant);
        if !is_meant || number < at || (number > at && !kind.lasts()) {
            return Answer::Do;
        }
        self.failed += 1;
        Answer::Fail(kind)
    }

    fn perform(&mut self, operation: Operation) {
        self.state.apply(&operation);
        self.log.push(operation);
    }

    fn change(&mut self, items: Vec<Item>) -> Result<(), FaultKind> {
        match self.answer(Class::Write) {
            Answer::Do => self.perform(Operation::Change(items)),
            // A full disk still takes what needs no room.
            Answer::Fail(FaultKind::Full) if items.iter().all(needs_no_room) => {
                self.failed -= 1;
                self.perform(Operation::Change(items));
            }
            Answer::Fail(kind) => return Err(kind),
        }
        Ok(())
    }

    fn write(
        &mut self,
        name: Name,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), FaultKind> {
        let items = self.items(&name, inode, offset, bytes);
        let result = self.change(items);
        if result == Err(FaultKind::Short) {
            let items = self.items(&name, inode, offset, &bytes[..bytes.len() / 2]);
            self.perform(Operation::Change(items));
        }
        result
    }

    /// Returns what a write does: a name may appear, bytes change, the file may grow.
    fn items(&self, name: &Name, inode: Inode, offset: u64, bytes: &[u8]) -> Vec<Item> {
        let offset = usize::try_from(offset).expect("the virtual disk is small");
        let mut items = Vec::new();
        if self.state.seen.inode(name).is_none() {
            items.push(Item::Entry(name.clone(), inode));
        }
        items.push(Item::Bytes(inode, offset, Rc::from(bytes)));
        if offset + bytes.len() > self.state.seen.len(name) {
            items.push(Item::Length(inode, offset + bytes.len()));
        }
        items
    }

    fn sync(&mut self, operation: Operation) -> Result<(), FaultKind> {
        match self.answer(Class::Sync) {
            Answer::Do if self.skipped.is_some_and(|syncs| syncs.is(&operation)) => {}
            Answer::Do => self.perform(operation),
            Answer::Fail(kind) => {
                if matches!(kind, FaultKind::Lie | FaultKind::LieAndForget) {
                    self.state.lose(&operation, kind == FaultKind::LieAndForget);
                }
                return Err(kind);
            }
        }
        Ok(())
    }

    fn read(&mut self, name: &Name, offset: u64, into: &mut [u8]) -> Result<(), &'static str> {
        if matches!(self.answer(Class::Read), Answer::Fail(_)) {
            return Err("input/output error");
        }
        if self.state.seen.read(name, offset, into) { Ok(()) } else { Err("the file ends before") }
    }
}

const fn needs_no_room(item: &Item) -> bool {
    matches!(item, Item::Cut(..) | Item::Hole(..) | Item::Rename(..))
}

fn failure(
    op: &'static str,
    file: impl std::fmt::Display,
    offset: u64,
    kind: FaultKind,
) -> StorageError {
    let why = match kind {
        FaultKind::Full => "no space left on device",
        FaultKind::Off => "the power is off",
        _ => "input/output error",
    };
    StorageError::new(op, file, offset, 0, why)
}

impl Storage for Disk {
    fn len(&self, file: FileId) -> Result<u64, StorageError> {
        Ok(self.0.borrow().state.seen.len(&Name::Store(file)) as u64)
    }

    fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let read = self.0.borrow_mut().read(&Name::Store(file), offset, into);
        read.map_err(|why| StorageError::new("read", file, offset, into.len(), why))
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if offset.saturating_add(bytes.len() as u64) > DISK_BYTES {
            return Err(StorageError::new("write", file, offset, bytes.len(), "file too large"));
        }
        let (name, inode) = (Name::Store(file), Inode::Store(file));
        let written = self.0.borrow_mut().write(name, inode, offset, bytes);
        written.map_err(|kind| failure("write", file, offset, kind))
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), StorageError> {
        let mut inner = self.0.borrow_mut();
        let len = usize::try_from(len).expect("the virtual disk is small");
        if inner.state.seen.len(&Name::Store(file)) <= len {
            return Ok(());
        }
        let cut = inner.change(vec![Item::Cut(Inode::Store(file), len)]);
        cut.map_err(|kind| failure("truncate", file, len as u64, kind))
    }

    fn discard(&mut self, file: FileId, offset: u64, len: u64) -> Result<(), StorageError> {
        let [start, end] = [offset, offset.saturating_add(len).min(DISK_BYTES)]
            .map(|at| usize::try_from(at).expect("the virtual disk is small"));
        let freed = self.0.borrow_mut().change(vec![Item::Hole(Inode::Store(file), start, end)]);
        freed.map_err(|kind| failure("free", file, offset, kind))
    }

    fn sync(&mut self, file: FileId) -> Result<(), StorageError> {
        let synced = self.0.borrow_mut().sync(Operation::Sync(file));
        synced.map_err(|kind| failure("sync", file, 0, kind))
    }

    fn read_working(&self, path: &[u8], offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        let read = self.0.borrow_mut().read(&Name::Working(path.to_vec()), offset, into);
        let name = || String::from_utf8_lossy(path).into_owned();
        read.map_err(|why| StorageError::new("read", name(), offset, into.len(), why))
    }

    fn sync_working(&mut self) -> Result<(), StorageError> {
        let synced = self.0.borrow_mut().sync(Operation::SyncWorking);
        synced.map_err(|kind| failure("sync", "the working files", 0, kind))
    }
}
