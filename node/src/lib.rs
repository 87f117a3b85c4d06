//! The node: drives on a disk, on the network, on the command line.
//!
//! This library is what the `datnode` binary is made of, so that other programs can embed it. The [`engine`] brings stores,
//! peers and drives together; [`swarm`] connects nodes; [`import`] takes a folder into a drive, [`edit`] changes one by paths, and
//! [`landing`] puts a drive into a folder. What is decided is decided in `datnode_feed`, `datnode_proto` and `datnode_drive`, which
//! know no I/O.
//!
//! # A drive, from the first file to a reader elsewhere
//!
//! A store belongs to a thread ([`engine::start`]), a [`engine::Hub`] replicates its feeds over any stream of bytes, and an
//! [`engine::Drive`] reads: what is not here is fetched when it is asked for. A network that finds peers is [`engine::Network`];
//! here two nodes of one process are connected by a pipe.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use std::{fs, time::Duration};
//!
//! use datnode::address::VersionSpec;
//! use datnode::disk::DiskStorage;
//! use datnode::edit::{Edit, Order, Raw, carry_out, staging_place};
//! use datnode::engine::{About, AnyStore, Comparison, Drive, Hub, Options, Patience, Reach, start};
//! use datnode::import::{How, Keep, Memory, Rules, Writer, create, import, latest};
//! use datnode_drive::DrivePath;
//! use datnode_feed::{MemoryStorage, PublicKey, SecretKey, Store};
//! use datnode_proto::{Binding, Order as InOrder, Priority};
//!
//! type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
//!
//! /// A node: a hub, and the drive of a store.
//! async fn node(name: u8, store: AnyStore, key: PublicKey) -> Outcome<(Hub, Drive)> {
//!     let (hub, driver) = Hub::new([name; 32]);
//!     tokio::spawn(driver);
//!     let wait = Some(Duration::from_secs(10));
//!     let patience = Patience { wait, reach: Reach::Network, link: String::new() };
//!     let drive = Drive::open(&hub, start(store, hub.answers())?, key, patience).await?;
//!     Ok((hub, drive))
//! }
//!
//! /// Connects two nodes of this process.
//! fn connect(ends: [(&Hub, u8); 2]) {
//!     let (near, far) = tokio::io::duplex(1 << 20);
//!     let [(here, ours), (there, theirs)] = ends;
//!     for (hub, ours, theirs, end) in [(here, ours, theirs, near), (there, theirs, ours, far)] {
//!         let (hub, binding) = (hub.clone(), Binding { ours: vec![ours], theirs: vec![theirs] });
//!         let about = About { name: String::new(), address: String::from("pipe"), punched: false, is_local: true };
//!         let (read, write) = tokio::io::split(end);
//!         tokio::spawn(async move { hub.replicate(read, write, binding, about).await });
//!     }
//! }
//!
//! # fn main() -> Outcome<()> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(example())
//! # }
//! # async fn example() -> Outcome<()> {
//! // The writer's folder, with a store in it, and the keys of both feeds.
//! # let temporary = tempfile::tempdir()?;
//! # let folder = temporary.path();
//! let storage = DiskStorage::open(folder, true)?;
//! let mut store: AnyStore = Store::open(Box::new(storage) as Box<_>)?;
//! let keys = [1, 2].map(|seed| SecretKey::from_bytes([seed; 32]));
//! let key = keys[0].public();
//! let slots = [store.add_feed(key)?, store.add_feed(keys[1].public())?];
//! let writer = Writer { changes: (slots[0], &keys[0]), content: (slots[1], &keys[1]) };
//! create(&mut store, &writer, "example")?;
//!
//! // A batch: all that is in the folder is one change.
//! fs::write(folder.join("film"), vec![7; 1_000_000])?;
//! fs::write(folder.join("note"), "first")?;
//! let base = latest(&mut store, slots[0])?;
//! let rules = Rules::default();
//! let how = How { rules: &rules, keep: Keep::History, message: "all", folder_times: true };
//! let (stop, memory) = (AtomicBool::new(false), &mut Memory::default());
//! let done = import(&mut store, &writer, &base, folder, &how, memory, &stop, &mut |_| {})?;
//! assert_eq!((done.version.number, done.added), (1, 2));
//!
//! // Put, delete, and a name for what there is now: a change each.
//! let staged = staging_place(folder)?;
//! fs::write(&staged, "second")?;
//! let path = Raw(b"note".to_vec());
//! for edit in [
//!     Edit::Tag { name: "v1".into(), version: None, force: false },
//!     Edit::Put { path: path.clone(), name: None, staged: Some(Raw::of(&staged)) },
//!     Edit::Remove { paths: vec![path], recursive: false },
//! ] {
//!     let order = Order { edit, message: String::new(), if_version: None };
//!     assert!(carry_out(&mut store, &writer, folder, &order)?.changed);
//! }
//!
//! // A reader elsewhere, who has nothing but the key.
//! let (serving, shared) = node(1, store, key).await?;
//! shared.latest().await?;
//! let nothing: AnyStore = Store::open(Box::new(MemoryStorage::new()) as Box<_>)?;
//! let (reading, drive) = node(2, nothing, key).await?;
//! connect([(&serving, 1), (&reading, 2)]);
//!
//! // The latest version: one name, or all of a folder.
//! let now = drive.latest().await?;
//! assert_eq!(now.version.number, 4);
//! let film = now.entry(&DrivePath::from_bytes("film")?).await?.expect("it is there");
//! let mut names = Vec::new();
//! let each = |path: DrivePath, _| Ok(names.push(path.to_string()));
//! now.list(&DrivePath::root(), each).await?;
//! assert_eq!(names, ["film"]);
//!
//! // A stream of bytes, in order as they come; and a cursor that goes anywhere.
//! let mut read = 0;
//! now.read(&film, 100..200_000, async |bytes: Vec<u8>| Ok(read += bytes.len())).await?;
//! assert_eq!(read, 199_900);
//! let (mut cursor, mut bytes) = (now.cursor(&film), [0; 4]);
//! cursor.read_exact_at(999_996, &mut bytes).await?;
//! assert_eq!(bytes, [7; 4]);
//!
//! // All of a file, before anything else; dropping what is returned withdraws it.
//! let options = Options { priority: Priority(9), order: InOrder::Linear, ..Options::default() };
//! now.prioritize(&film, options).expect("there is content").done().await;
//!
//! // Another version: by number, hash, time or tag.
//! let then = drive.version(&VersionSpec::parse(b"v1")?).await?;
//! assert_eq!(then.version.number, 1);
//! let note = then.entry(&DrivePath::from_bytes("note")?).await?.expect("it was there");
//! then.read(&note, 0..note.size, async |bytes: Vec<u8>| Ok(assert_eq!(bytes, b"first"))).await?;
//!
//! // What is different now, and what each change did.
//! let difference = Comparison::new(&then, &now).next().await?.expect("a note is gone");
//! assert_eq!((difference.path.as_bytes(), difference.new), (&b"note"[..], None));
//! let mut history = Vec::new();
//! for position in now.changes_since(then.version.number).await? {
//!     let each = |path: DrivePath, set: Option<_>| Ok(history.push((path.to_string(), set.is_some())));
//!     now.at(position).await?.ops(each).await?;
//! }
//! assert_eq!(history, [("note".into(), true), ("note".into(), false)]);
//!
//! // Watch: whoever waits is told as soon as the writer made another change.
//! let (changed, root) = (folder.to_owned(), keys.clone());
//! let change = shared.store.query(move |worker| {
//!     let writer = Writer { changes: (slots[0], &root[0]), content: (slots[1], &root[1]) };
//!     let edit = Edit::Untag { name: "v1".into() };
//!     let order = Order { edit, message: String::new(), if_version: None };
//!     worker.change(|store, _| carry_out(store, &writer, &changed, &order))
//! });
//! change.await?;
//! shared.grown().await?;
//! let (mut news, length) = (drive.changes.news.clone(), now.version.position.0 + 1);
//! news.wait_for(|news| news.length > length).await?;
//! assert_eq!(drive.latest().await?.version.number, 5);
//! # Ok(())
//! # }
//! ```

pub mod address;
pub mod choice;
pub mod clearing;
pub mod cli;
pub mod commands;
pub mod control;
pub mod dirs;
pub mod disk;
pub mod drives;
pub mod edit;
pub mod engine;
pub mod error;
pub mod extract;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod home;
pub mod import;
pub mod keys;
pub mod landing;
pub mod live;
pub mod neighbours;
pub mod origin;
pub mod pen;
pub mod pool;
pub mod published;
pub mod remembered;
pub mod runtime;
pub mod swarm;
pub mod view;
