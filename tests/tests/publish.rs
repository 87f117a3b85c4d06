//! A drive as static files on a web server: it outlives its seeders, and nothing that the server sends is believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use datnode_tests::site::{Manner, Site};
use datnode_tests::{User, assert_exit, noise, tree, write};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// What is given to `--wait` where nobody comes who helps: a busy computer takes a while to ask a server on loopback.
const LIMIT: &str = "15s";

/// A drive that nobody serves, published in a folder.
struct World {
    writer: User,
    reader: User,
    link: String,
}

impl World {
    fn new() -> Self {
        let writer = User::new();
        let source = writer.path("source");
        write(&source, b"large", &noise(1, 3_000_000));
        for file in 0..50 {
            write(&source, format!("many/{file}").as_bytes(), &noise(file, 1_000));
        }
        let link = writer.share(&source, &[]).link().to_owned();
        let world = Self { writer, reader: User::new(), link };
        world.publish();
        world
    }

    fn publish(&self) -> Value {
        let output = self.writer.run(["--json", "publish", "site", "source"]);
        assert_exit(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Takes in what changed, without anybody who serves it afterwards.
    fn change(&self, name: &[u8], bytes: &[u8]) {
        write(&self.writer.path("source"), name, bytes);
        drop(self.writer.share(&self.writer.path("source"), &[]));
    }

    fn site(&self, manner: Manner) -> Site {
        Site::of(&self.folder(), manner)
    }

    fn folder(&self) -> PathBuf {
        self.writer.path("site")
    }

    fn assert_equal(&self, folder: &str) {
        assert_eq!(tree(&self.writer.path("source")), tree(&self.reader.path(folder)), "{folder}");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the files below a folder, with their bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut all, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = fs::read(&path).unwrap();
                    all.insert(path, bytes);
                }
            }
        }
    }
    all
}

#[test]
fn a_drive_outlives_its_seeders() {
    let world = World::new();
    let site = world.site(Manner::Honest);
    // The place says which drive it is; or the key does, and the place has to have that.
    assert_exit(&world.reader.run(["clone", &site.url(), "copy"]), 0);
    world.assert_equal("copy");
    assert_exit(&world.reader.run(["clone", &world.link, "by-key", "--from", &site.url()]), 0);
    world.assert_equal("by-key");
    let unnamed = world.reader.path("source");
    assert_exit(&world.reader.run(["clone", "--from", &site.url()]), 0);
    assert_eq!(tree(&world.writer.path("source")), tree(&unnamed), "it is called like the drive");
    assert_exit(&world.reader.run(["verify", "copy"]), 0);
    // A later version comes from there though nobody names it again.
    world.change(b"many/1", b"changed");
    world.publish();
    assert_exit(&world.reader.run(["pull", "copy"]), 0);
    world.assert_equal("copy");
    // A ticket names the place, and so it may be all that there is.
    let ticket = world.writer.run(["link", "source", "--ticket", "--from", &site.url()]);
    assert_exit(&ticket, 0);
    let ticket = String::from_utf8(ticket.stdout).unwrap();
    let friend = User::new();
    assert_exit(&friend.run(["clone", ticket.trim(), "copy"]), 0);
    assert_eq!(tree(&world.writer.path("source")), tree(&friend.path("copy")));
    assert_exit(&User::new().run(["cat", &format!("{}/many/1", ticket.trim())]), 0);
    // And an older one.
    assert_exit(
        &world.reader.run(["cat", &format!("{}+1/many/1", world.link), "--from", &site.url()]),
        0,
    );
    let other = User::new();
    write(&other.path("source"), b"a", b"1");
    let other = other.share(&other.path("source"), &[]);
    let refused =
        world.reader.run(["clone", other.link(), "third", "--from", &site.url(), "--wait", LIMIT]);
    assert_exit(&refused, 5);
    assert!(said(&refused).contains("holds another drive"), "{}", said(&refused));
}

#[test]
fn what_is_read_is_fetched_and_little_more() {
    let world = World::new();
    let site = world.site(Manner::Honest);
    let place = format!("{}/large", world.link);
    let read =
        world.reader.run(["cat", &place, "--range", "2000000-2000099", "--from", &site.url()]);
    assert_exit(&read, 0);
    assert_eq!(read.stdout, noise(1, 3_000_000)[2_000_000..2_000_100]);
    // The heads, pages of two trees, index nodes, the block with the range, and a reader's first window of 256 KiB and two blocks.
    assert!(site.sent() < 1_000_000, "{} bytes for 100", site.sent());
    let all = world.reader.run([
        "clone",
        &world.link,
        "part",
        "--from",
        &site.url(),
        "--include",
        "many/7",
    ]);
    assert_exit(&all, 0);
    assert_eq!(fs::read(world.reader.path("part/many/7")).unwrap(), noise(7, 1_000));
    assert!(!world.reader.path("part/large").exists());
}

#[test]
fn publishing_again_writes_what_is_new_and_breaks_no_reader() {
    let world = World::new();
    let before = files(&world.folder());
    let again = world.publish();
    assert_eq!(again["bytes_new"], 0, "{again}");
    assert_eq!(files(&world.folder()), before);
    world.change(b"new", &noise(9, 200_000));
    let sharer = world.writer.share(&world.writer.path("source"), &[]);
    // As long as somebody serves it as well.
    let more = world.publish();
    drop(sharer);
    let new = more["bytes_new"].as_u64().unwrap();
    // The new file, and a change with its index: the nodes on the way to the name, 24 KiB each at most.
    assert!((200_000..400_000).contains(&new), "{more}");
    let after = files(&world.folder());
    for (path, old) in &before {
        let heads = path.ends_with("datnode.heads");
        assert!(heads || after[path].starts_with(old), "{} only grew", path.display());
    }
    // Whoever still has the old heads reads the old version: all that they speak of is as it was.
    let heads = world.folder().join("datnode.heads");
    fs::write(&heads, &before[&heads]).unwrap();
    let site = world.site(Manner::Honest);
    assert_exit(&world.reader.run(["clone", &site.url(), "old"]), 0);
    assert!(!world.reader.path("old/new").exists());
    fs::write(&heads, &after[&heads]).unwrap();
    assert_exit(&world.reader.run(["pull", "old"]), 0);
    world.assert_equal("old");
}

#[test]
fn publishing_goes_nowhere_else() {
    let world = World::new();
    let user = &world.writer;
    write(&user.path("strange"), b"index.html", b"hello");
    let refused = user.run(["publish", "strange", "source"]);
    assert_exit(&refused, 7);
    assert_eq!(fs::read_dir(user.path("strange")).unwrap().count(), 1);
    write(&user.path("other"), b"a", b"1");
    drop(user.share(&user.path("other"), &[]));
    assert_exit(&user.run(["publish", "site", "other"]), 7);
    assert_exit(&user.run(["publish", "fresh", "strange"]), 10);
    // What is published is newer than a clone that did not keep up.
    let site = world.site(Manner::Honest);
    assert_exit(&world.reader.run(["clone", &site.url(), "copy"]), 0);
    world.change(b"later", b"1");
    world.publish();
    let older = world.reader.command(["publish"]).arg(world.folder()).arg("copy").output().unwrap();
    assert_exit(&older, 7);
    // A clone publishes what it has; what it has not is not asked of its reader.
    assert_exit(&world.reader.run(["publish", "second", "copy"]), 0);
    let second = Site::of(&world.reader.path("second"), Manner::Honest);
    let third = User::new();
    assert_exit(&third.run(["clone", &second.url(), "copy"]), 0);
    assert_eq!(tree(&third.path("copy")), tree(&world.reader.path("copy")));
}

#[test]
fn servers_that_lie_are_named_and_nothing_of_it_is_kept() {
    let world = World::new();
    for manner in [Manner::WrongBytes, Manner::WrongTree] {
        let site = world.site(manner);
        let cloned = world.reader.run([
            "clone",
            &world.link,
            "copy",
            "--from",
            &site.url(),
            "--wait",
            LIMIT,
        ]);
        assert_eq!(cloned.status.code(), Some(6), "{manner:?}: {}", said(&cloned));
        assert!(said(&cloned).contains(&site.url()), "{manner:?}: {}", said(&cloned));
        let right = tree(&world.writer.path("source"));
        let wrong =
            |(name, thing): &(Vec<u8>, datnode_tests::Thing)| right.get(name) != Some(thing);
        let copy = world.reader.path("copy");
        if copy.exists() {
            let landed = tree(&copy)
                .into_iter()
                .filter(|(_, thing)| matches!(thing, datnode_tests::Thing::File { .. }));
            assert_eq!(landed.filter(wrong).count(), 0, "{manner:?}");
            fs::remove_dir_all(copy).unwrap();
        }
        // Whoever is honest beside it is enough.
        let sharer = world.writer.share(&world.writer.path("source"), &[]);
        let cloned = world.reader.run(["clone", sharer.ticket(), "copy", "--from", &site.url()]);
        assert_exit(&cloned, 0);
        world.assert_equal("copy");
        fs::remove_dir_all(world.reader.path("copy")).unwrap();
    }
}

#[test]
fn servers_that_do_not_do_their_work_are_left_soon_and_the_reason_is_told() {
    let world = World::new();
    let rows = [
        (Manner::Short, "broke off"),
        (Manner::Endless, "too long"),
        (Manner::EndlessRanges, "too long"),
        (Manner::Redirect, "leads elsewhere, to http://127.0.0.1:9/evil"),
        (Manner::NoRanges, "(Range)"),
        (Manner::OtherRanges, "(Range)"),
        (Manner::HugeHead, "broke off"),
        (Manner::Silent, "1 origin, which is not there"),
        (Manner::Squeezed, "as gzip"),
        (Manner::Trouble, "503"),
        (Manner::Garbage, "broke off"),
    ];
    // At the same time, since all of them are waited for.
    std::thread::scope(|all| {
        for (manner, right) in rows {
            let world = &world;
            all.spawn(move || {
                let (site, reader) = (world.site(manner), User::new());
                let args = ["clone", &world.link, "copy", "--from", &site.url(), "--wait", LIMIT];
                let cloned = reader.run(args);
                assert_eq!(cloned.status.code(), Some(5), "{manner:?}: {}", said(&cloned));
                assert!(said(&cloned).contains(right), "{manner:?}: {}", said(&cloned));
                assert!(!said(&cloned).contains('\u{1b}'), "{manner:?}");
                // The pause doubles from half a second on, and few requests fit into each session.
                assert!(site.requests() < 100, "{manner:?}: {} requests", site.requests());
                assert!(!reader.path("copy").exists(), "{manner:?}");
            });
        }
    });
    // A server without the data is one that lacks it.
    let site = world.site(Manner::NoData);
    let cloned =
        world.reader.run(["clone", &world.link, "copy", "--from", &site.url(), "--wait", LIMIT]);
    assert_exit(&cloned, 5);
    // Where nothing is published, and where nobody is.
    let empty = Site::of(&world.reader.path(""), Manner::Honest);
    assert_exit(&world.reader.run(["clone", &empty.url(), "copy"]), 10);
    let nobody = world.reader.run(["clone", "http://127.0.0.1:9/drive", "copy"]);
    assert_exit(&nobody, 5);
    assert!(said(&nobody).contains("no connection"), "{}", said(&nobody));
    for bad in ["http://user@host/x", "http://host/x?y", "https:///x", "http://ho st/"] {
        assert_exit(&world.reader.run(["clone", bad]), 2);
    }
}

/// Puts TLS before a server, under a certificate of its own; returns the port, and the certificate.
fn with_tls(site: &Site) -> (u16, String) {
    let rcgen::CertifiedKey { cert, key_pair } =
        rcgen::generate_simple_self_signed([String::from("127.0.0.1")]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(key_pair.serialize_der().into()),
        );
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = site.url().split('/').nth(2).unwrap().to_owned();
    // It ends with the process: nobody waits for it.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, behind) = (config.clone(), behind.clone());
            std::thread::spawn(move || {
                // Whoever asks goes away when it has had enough, or does not trust us.
                let _ = pass_on(stream.unwrap(), config, &behind);
            });
        }
    });
    (port, cert.pem())
}

/// Passes on one request after the other.
fn pass_on(stream: TcpStream, config: Arc<ServerConfig>, behind: &str) -> std::io::Result<()> {
    let tls = ServerConnection::new(config).unwrap();
    let mut secure = BufReader::new(StreamOwned::new(tls, stream));
    let server = TcpStream::connect(behind)?;
    let mut plain = BufReader::new(server);
    loop {
        let request = head(&mut secure)?;
        plain.get_mut().write_all(request.as_bytes())?;
        let answer = head(&mut plain)?;
        let lines = answer.lines();
        let len =
            lines.filter_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok()).next();
        let mut body = vec![0; len.unwrap()];
        plain.read_exact(&mut body)?;
        secure.get_mut().write_all(answer.as_bytes())?;
        secure.get_mut().write_all(&body)?;
        secure.get_mut().flush()?;
    }
}

/// Reads as far as the empty line.
fn head(from: &mut impl std::io::BufRead) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

#[test]
fn a_server_is_who_the_authorities_of_this_computer_say() {
    let world = World::new();
    let site = world.site(Manner::Honest);
    let (port, certificate) = with_tls(&site);
    write(&world.reader.path(""), b"authorities.pem", certificate.as_bytes());
    let url = format!("https://127.0.0.1:{port}/drive");
    let clone = |authorities: &Path, folder: &str| {
        let mut command = world.reader.command(["clone", &url, folder]);
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        command.output().unwrap()
    };
    let own = world.reader.path("authorities.pem");
    assert_exit(&clone(&own, "copy"), 0);
    world.assert_equal("copy");
    // Another one, of which ours is not.
    let (_, other) = with_tls(&site);
    write(&world.reader.path(""), b"other.pem", other.as_bytes());
    let refused = clone(&world.reader.path("other.pem"), "second");
    assert_exit(&refused, 5);
    assert!(said(&refused).contains("no connection"), "{}", said(&refused));
    assert!(said(&refused).contains("certificate"), "{}", said(&refused));
    assert!(!world.reader.path("second").exists());
}
