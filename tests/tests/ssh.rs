//! A drive on another computer, by ssh: `datnode pipe` there, `datnode clone ssh://…` here.
//!
//! What stands for ssh is a script that runs the command on this computer, as another user; one test has the real programs, where they are.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use datnode_tests::process::wait_until;
use datnode_tests::{Sharer, User, assert_exit, binary, noise, tree, write};
use serde_json::Value;

/// Longer than anything here takes.
const HANGS: Duration = Duration::from_secs(60);
/// What a script for ssh begins with: the command is the third argument then.
const BEGIN: &str = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\n";

/// Who has a drive, who wants it, and what stands for ssh between them.
struct World {
    there: User,
    here: User,
}

impl World {
    fn new() -> Self {
        let (there, here) = (User::new(), User::new());
        let folder = there.path(NAME);
        write(&folder, b"large", &noise(1, 2_000_000));
        write(&folder, b"folder/small", b"one");
        drop(there.share(&folder, &[]));
        fs::create_dir_all(here.path("")).unwrap();
        Self { there, here }
    }

    /// Returns a script that passes a command on to the other user's shell, behind what is given.
    fn ssh(&self, name: &str, how: &str) -> PathBuf {
        let (work, home) = (self.there.path(""), self.there.home());
        let bin = binary().parent().unwrap();
        let text = format!(
            "{BEGIN}cd '{}'\nexport DATNODE_HOME='{}' PATH='{}':\"$PATH\"\n{how}\n",
            work.display(),
            home.display(),
            bin.display()
        );
        script(&self.here.path(name), &text)
    }

    fn good(&self) -> PathBuf {
        self.ssh("ssh", "exec sh -c \"$3\"")
    }

    fn run(&self, ssh: &Path, args: &[&str]) -> Output {
        self.here.command(args).env("DATNODE_SSH", ssh).output().unwrap()
    }

    fn assert_equal(&self, folder: &str) {
        assert_eq!(tree(&self.there.path(NAME)), tree(&self.here.path(folder)));
    }
}

/// A folder that no shell may understand.
const NAME: &str = "it's a; $(touch evil) \"drive\"";
/// The same in an origin.
const ORIGIN: &str = "ssh://me@host:2222/~/it's a; $(touch evil) \"drive\"";

fn script(path: &Path, text: &str) -> PathBuf {
    // Written by another process: one that forks meanwhile would hold it open for writing, and then it cannot be run.
    let mut cat = Command::new("sh");
    cat.arg("-c").arg("cat > \"$0\" && chmod 755 \"$0\"").arg(path).stdin(Stdio::piped());
    let mut cat = cat.spawn().unwrap();
    std::io::Write::write_all(&mut cat.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(cat.wait().unwrap().success());
    path.to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_drive_comes_by_ssh_and_goes_on_by_it() {
    let world = World::new();
    let log = world.here.path("arguments");
    let ssh = script(
        &world.here.path("logging"),
        &format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\nexec '{}' \"$@\"\n",
            log.display(),
            world.good().display()
        ),
    );
    assert_exit(&world.run(&ssh, &["clone", ORIGIN, "copy"]), 0);
    world.assert_equal("copy");
    let arguments = fs::read_to_string(&log).unwrap();
    let right = "-T\n-a\n-x\n-p\n2222\n--\nme@host\ndatnode --json pipe -- './it'\\''s a; $(touch evil) \"drive\"'\n";
    assert_eq!(arguments, right);
    assert!(!world.there.path("evil").exists() && !world.here.path("evil").exists());
    // A later version, though nobody says where it is; and a file that only the origin has.
    write(&world.there.path(NAME), b"folder/small", b"two");
    drop(world.there.share(&world.there.path(NAME), &[]));
    assert_exit(&world.run(&ssh, &["pull", "copy"]), 0);
    world.assert_equal("copy");
    assert_exit(&world.run(&ssh, &["verify", "copy"]), 0);
    // Without it nobody is there, which is no error for what is complete.
    let nowhere = world.ssh("nowhere", "exit 255");
    assert_exit(&world.run(&nowhere, &["pull", "copy"]), 0);
}

#[test]
fn a_folder_that_is_shared_is_served_by_its_owner() {
    let world = World::new();
    let sharer = world.there.share(&world.there.path(NAME), &[]);
    let ssh = world.good();
    assert_exit(&world.run(&ssh, &["clone", ORIGIN, "copy"]), 0);
    world.assert_equal("copy");
    // A key that is given has to be that of the drive there.
    let from = ["--from", ORIGIN];
    let link = sharer.link().to_owned();
    assert_exit(&world.run(&ssh, &["clone", &link, "other", from[0], from[1]]), 0);
    world.assert_equal("other");
    drop(sharer);
    let stranger = User::new();
    write(&stranger.path("source"), b"a", b"1");
    let stranger = stranger.share(&stranger.path("source"), &[]);
    let refused =
        world.run(&ssh, &["clone", stranger.link(), "third", from[0], from[1], "--wait", "15s"]);
    assert_exit(&refused, 5);
    assert!(said(&refused).contains("holds another drive"), "{}", said(&refused));
    assert!(!world.here.path("third").exists());
}

#[test]
fn several_pipes_serve_one_folder_and_none_takes_anything() {
    let world = World::new();
    let ssh = world.good();
    assert_exit(&world.run(&ssh, &["clone", ORIGIN, "copy"]), 0);
    // The other side now has an older store than this one.
    let old = world.there.path("old");
    copy(&world.there.path(NAME), &old);
    write(&world.there.path(NAME), b"more", b"more");
    drop(world.there.share(&world.there.path(NAME), &[]));
    assert_exit(&world.run(&ssh, &["pull", "copy"]), 0);
    let before = world.there.run(["--json", "log", "./old"]);
    assert_exit(&before, 0);
    // One pipe is held open, others pass through it.
    let mut held = world.there.command(["pipe", "old"]);
    let mut held = held.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut greeting = [0; 16];
    std::io::Read::read_exact(held.stdout.as_mut().unwrap(), &mut greeting).unwrap();
    assert_eq!(&greeting, b"datnode-stdio/1\n");
    let link = String::from_utf8(world.here.run(["link", "copy"]).stdout).unwrap();
    let pulled = world
        .run(&ssh, &["clone", link.trim(), "copy", "--from", "ssh://host/~/old", "--wait", "30s"]);
    assert_exit(&pulled, 0);
    drop(held.stdin.take());
    let ended = held.wait_with_output().unwrap();
    assert_exit(&ended, 0);
    let after = world.there.run(["--json", "log", "./old"]);
    assert_eq!(before.stdout, after.stdout, "what only serves does not change");
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn what_is_wrong_is_said_in_plain_words() {
    let world = World::new();
    for (name, how, exit, right) in [
        ("missing", "exec sh -c 'datnode-that-is-not-there'", 5, "there is no datnode on host"),
        ("refused", "echo 'connect: refused' >&2; exit 255", 5, "ssh cannot connect to host"),
        (
            "talks",
            "echo 'Welcome to this computer'; exec sh -c \"$3\"",
            5,
            "is not datnode's protocol",
        ),
        ("older", "exec datnode no-such-command", 5, "knows no pipe"),
        ("ends", "exit 0", 5, "ended before it began"),
        (
            "garbage",
            "printf 'datnode-stdio/1\\n'; exec head -c 64 /dev/zero",
            5,
            "is not datnode's protocol",
        ),
        ("silent", "exec sleep 60", 5, "does not answer"),
        ("elsewhere", "cd /; exec sh -c \"$3\"", 4, "on host: "),
        (
            "empty",
            r#"mkdir -p "e/it's a; \$(touch evil) \"drive\""; cd e; exec sh -c "$3""#,
            10,
            "is not a drive",
        ),
    ] {
        let ssh = world.ssh(name, how);
        let wait = if name == "silent" { "1s" } else { "60s" };
        let output = world.run(&ssh, &["clone", ORIGIN, "copy", "--wait", wait]);
        assert_eq!(output.status.code(), Some(exit), "{name}: {}", said(&output));
        assert!(said(&output).contains(right), "{name}: {}", said(&output));
        assert!(
            said(&output).contains("hint:") || matches!(name, "elsewhere" | "empty"),
            "{name}: {}",
            said(&output)
        );
        assert!(!world.here.path("copy").exists(), "{name}");
    }
    // No ssh on this computer.
    let mut command = world.here.command(["clone", ORIGIN, "copy"]);
    let output = command.env("PATH", world.here.path("nothing")).output().unwrap();
    assert_exit(&output, 5);
    assert!(said(&output).contains("ssh cannot be run on this computer"), "{}", said(&output));
    for bad in ["ssh://-oProxyCommand=evil/x", "ssh://host", "ssh://ho st/x"] {
        assert_exit(&world.run(Path::new("false"), &["clone", bad]), 2);
    }
    assert_exit(&world.run(Path::new("false"), &["ls", "ssh://host/x"]), 2);
    assert_exit(&world.run(Path::new("false"), &["--offline", "clone", "ssh://host/x"]), 2);
}

#[test]
fn a_line_that_breaks_is_taken_up_again() {
    let world = World::new();
    // Each connection carries some 600 kB and breaks: all of the drive comes over several.
    let count = world.here.path("count");
    let short = format!("echo >> '{}'; sh -c \"$3\" | stdbuf -o0 head -c 600000", count.display());
    let ssh = world.ssh("short", &short);
    assert_exit(&world.run(&ssh, &["clone", ORIGIN, "copy"]), 0);
    world.assert_equal("copy");
    let lines = fs::read_to_string(&count).unwrap().len();
    assert!(lines >= 4, "two megabytes came over {lines} connections of 600 kB");
    // One that breaks and is not there again: what came is kept, and the same command goes on.
    let once = world.here.path("once");
    let breaks = format!(
        "[ -e '{0}' ] && {{ echo 'no route to host' >&2; exit 255; }}; touch '{0}'; sh -c \"$3\" | stdbuf -o0 head -c 1200000",
        once.display()
    );
    let ssh = world.ssh("breaks", &breaks);
    let lost = world.run(&ssh, &["clone", ORIGIN, "second", "--no-reuse", "--wait", "15s"]);
    assert_exit(&lost, 5);
    let told = ["ssh cannot connect to host", "the connection was lost"];
    assert!(told.iter().any(|why| said(&lost).contains(why)), "{}", said(&lost));
    let done = world.run(&world.good(), &["--json", "clone", ORIGIN, "second", "--no-reuse"]);
    assert_exit(&done, 0);
    world.assert_equal("second");
    let done = String::from_utf8(done.stdout).unwrap();
    let mut records = done.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let done = records.rfind(|record| record["type"] == "done").unwrap();
    // The first line carried 1.2 MB, of which at most 256 KiB and two blocks were under way or not yet durable: more than 500 kB stayed.
    assert!(done["received"].as_u64().unwrap() < 1_500_000, "{done}");
}

#[test]
fn a_clone_follows_by_ssh() {
    let world = World::new();
    let sharer = world.there.share(&world.there.path(NAME), &[]);
    let mut command = world.here.command(["--json", "clone", ORIGIN, "copy", "--live"]);
    let mut live =
        Running(command.env("DATNODE_SSH", world.good()).stdout(Stdio::null()).spawn().unwrap());
    let lands = |name: &str, bytes: &[u8]| {
        let path = world.here.path("copy").join(name);
        wait_until(HANGS, name, || fs::read(&path).is_ok_and(|found| found == bytes));
    };
    lands("folder/small", b"one");
    write(&world.there.path(NAME), b"folder/small", b"two");
    lands("folder/small", b"two");
    // Whoever serves is another process afterwards.
    drop(sharer);
    write(&world.there.path(NAME), b"folder/small", b"three");
    let _sharer: Sharer = world.there.share(&world.there.path(NAME), &[]);
    lands("folder/small", b"three");
    live.0.kill().unwrap();
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real sshd on loopback, with keys of its own.
struct Sshd {
    _process: Running,
    ssh: PathBuf,
    port: u16,
}

impl Sshd {
    fn start(world: &World) -> Result<Self, String> {
        let sshd =
            ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let sshd = sshd.ok_or("sshd is not installed")?;
        let folder = world.here.path("sshd");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        for key in ["host", "user"] {
            let keygen = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status()
                .map_err(|error| format!("ssh-keygen: {error}"))?;
            assert!(keygen.success());
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized")).unwrap();
        // Only root may leave its privileges to a folder that only root made.
        if rustix::process::getuid().is_root() {
            fs::create_dir_all("/run/sshd").map_err(|error| format!("/run/sshd: {error}"))?;
        }
        let (process, port) = Self::listen(sshd, &folder, world)?;
        let shown = folder.display();
        let ssh = script(
            &world.here.path("real-ssh"),
            &format!(
                "#!/bin/sh\nexec ssh -F none -i '{shown}/user' -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile='{shown}/known' \"$@\"\n"
            ),
        );
        Ok(Self { _process: process, ssh, port })
    }

    /// Starts it on a port that nobody has; one that was free a moment ago may be another's by then.
    fn listen(sshd: &str, folder: &Path, world: &World) -> Result<(Running, u16), String> {
        let shown = folder.display();
        let mut said = String::new();
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            let config = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPubkeyAuthentication yes\n\
                 SetEnv DATNODE_HOME={} PATH={}:/usr/bin:/bin\n",
                world.there.home().display(),
                binary().parent().unwrap().display(),
            );
            fs::write(folder.join("config"), config).unwrap();
            drop(free);
            let mut command = Command::new(sshd);
            command.args(["-D", "-e", "-f"]).arg(folder.join("config"));
            let log = folder.join("log");
            let child =
                command.stdin(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn();
            let mut process = Running(child.map_err(|error| error.to_string())?);
            let listens = || fs::read_to_string(&log).unwrap().contains("Server listening on");
            let mut is_over = false;
            wait_until(HANGS, "sshd listens or ends", || {
                is_over = process.0.try_wait().unwrap().is_some();
                is_over || listens()
            });
            if !is_over {
                return Ok((process, port));
            }
            said = fs::read_to_string(&log).unwrap();
        }
        Err(said)
    }
}

#[test]
fn a_real_sshd_serves_a_drive() {
    let world = World::new();
    let sshd = match Sshd::start(&world) {
        Ok(sshd) => sshd,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let folder = world.there.path(NAME);
    let origin = format!("ssh://127.0.0.1:{}{}", sshd.port, folder.display());
    let cloned = world.run(&sshd.ssh, &["clone", &origin, "copy"]);
    let log = fs::read_to_string(world.here.path("sshd/log")).unwrap();
    assert_eq!(cloned.status.code(), Some(0), "{}\n{log}", said(&cloned));
    world.assert_equal("copy");
    // While it is shared there, and after it changed.
    let _sharer = world.there.share(&folder, &[]);
    write(&folder, b"folder/small", b"two");
    let small = world.here.path("copy/folder/small");
    wait_until(HANGS, "the change to come by ssh", || {
        assert_exit(&world.run(&sshd.ssh, &["pull", "copy"]), 0);
        fs::read(&small).unwrap() == b"two"
    });
    // Who may not log in, and a folder that is none.
    fs::write(world.here.path("sshd/authorized"), "").unwrap();
    let refused = world.run(&sshd.ssh, &["clone", &origin, "again"]);
    assert_exit(&refused, 5);
    assert!(said(&refused).contains("ssh cannot connect to 127.0.0.1"), "{}", said(&refused));
}
