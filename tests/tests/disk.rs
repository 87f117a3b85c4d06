//! A disk that is full, read-only, or changed by others under us: a clear end, nothing wrong, and the next run goes on.

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use datnode_tests::process::Stop;
use datnode_tests::{User, assert_exit, binary, noise, tree, write};
use serde_json::Value;

/// How many processes want a store at once, three times: a hundred in all.
const RACERS: usize = 34;

/// Runs a script in a mount namespace of its own; `None` where that is not permitted.
fn in_namespace(user: &User, script: &str) -> Option<Output> {
    let trial =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !trial.is_ok_and(|trial| trial.status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return None;
    }
    let plain = user.command([""]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(user.path("")).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    Some(command.env("DATNODE", binary()).output().unwrap())
}

#[test]
fn a_disk_of_any_size_ends_a_clone_cleanly_and_the_next_one_goes_on() {
    let writer = User::new();
    let source = writer.path("source");
    write(&source, b"large", &noise(1, 1 << 20));
    for number in 0..40 {
        write(&source, format!("small/{number}").as_bytes(), &noise(number, 5_000));
    }
    let sharer = writer.share(&source, &[]);
    let mut full = 0;
    for kib in [16, 64, 100, 200, 400, 700, 1_000, 1_300, 1_500, 4_000] {
        let user = User::new();
        fs::create_dir_all(user.path("disk")).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={kib}k none disk || exit 99
             $DATNODE clone {ticket} disk/copy; echo first $?
             $DATNODE --json verify --full disk/copy > full; echo full $?
             mount -o remount,size=64m disk || exit 99
             $DATNODE clone {ticket} disk/copy; echo second $?
             $DATNODE verify disk/copy; echo third $?
             cp -a disk/copy result",
            ticket = sharer.ticket()
        );
        let Some(output) = in_namespace(&user, &script) else { return };
        let (said, lines) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(!said.contains("panicked"), "{kib} KiB: {said}");
        let ended = |name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{kib} KiB: {lines} {said}")).trim().to_owned()
        };
        let first = ended("first");
        assert!(
            first == "0" || first == "11" && said.contains("E-SPACE"),
            "{kib} KiB: {first} {said}"
        );
        full += u32::from(first == "11");
        // As long as there is no room, what is there can be read, and is right.
        assert_ne!(ended("full"), "6", "{kib} KiB: {said}");
        assert_eq!(
            (ended("second"), ended("third")),
            ("0".to_owned(), "0".to_owned()),
            "{kib} KiB: {said}"
        );
        assert_eq!(tree(&user.path("result")), tree(&source), "{kib} KiB");
    }
    assert!(full >= 5, "the disk was full {full} times");
}

#[test]
fn a_disk_that_others_fill_meanwhile_ends_a_clone_cleanly_and_the_next_one_goes_on() {
    let writer = User::new();
    let source = writer.path("source");
    for number in 0..300 {
        write(&source, format!("{number}").as_bytes(), &noise(number, 8_000));
    }
    let sharer = writer.share(&source, &["--max-up", "2M"]);
    let mut full = 0;
    // From none at all to all that it takes.
    for left in [0, 1, 4, 16, 64, 200, 500, 1_000, 2_000, 8_000] {
        let user = User::new();
        fs::create_dir_all(user.path("disk")).unwrap();
        let script = format!(
            "mount -t tmpfs -o size=20m none disk || exit 99
             $DATNODE clone {ticket} disk/copy & clone=$!
             while [ ! -e disk/copy/.dat/landed ] && kill -0 $clone; do sleep 0.01; done
             free=$(df --output=avail -k disk | tail -n 1)
             [ $free -le {left} ] || head -c $(((free - {left}) * 1024)) /dev/zero > disk/others
             wait $clone; echo first $?
             $DATNODE --json verify --full disk/copy > full; echo full $?
             rm disk/others
             $DATNODE clone {ticket} disk/copy; echo second $?
             $DATNODE verify --full disk/copy; echo third $?
             cp -a disk/copy result",
            ticket = sharer.ticket()
        );
        let Some(output) = in_namespace(&user, &script) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = String::from_utf8_lossy(&output.stdout);
        let names = ["first ", "full ", "second ", "third "];
        let is_end = |line: &&str| names.iter().any(|name| line.starts_with(name));
        let ends: Vec<&str> = lines.lines().filter(is_end).collect();
        assert!(!said.contains("panicked"), "{left} KiB left: {said}");
        assert!(ends.len() == 4 && ends[1] == "full 0", "{left} KiB left: {lines} {said}");
        assert!(ends[0] == "first 0" || ends[0] == "first 11", "{left} KiB left: {lines} {said}");
        full += u32::from(ends[0] == "first 11");
        assert_eq!(ends[2..], ["second 0", "third 0"], "{left} KiB left: {said}");
        assert_eq!(tree(&user.path("result")), tree(&source), "{left} KiB left");
    }
    assert!(full >= 5, "the disk was full {full} times");
}

/// Where files are in memory, whoever maps a table and reads where nothing was written yet needs a page for it, and is killed if
/// there is none.
#[test]
fn tables_with_holes_are_read_on_a_full_disk_in_memory() {
    let writer = User::new();
    let source = writer.path("source");
    for number in 0..4_000 {
        write(&source, format!("{number:04}").as_bytes(), format!("{number}").as_bytes());
    }
    let sharer = writer.share(&source, &[]);
    let user = User::new();
    fs::create_dir_all(user.path("disk")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=40m none disk || exit 99
         $DATNODE clone {ticket} disk/copy --include 0000 --include 3999; echo part $?
         cat /dev/zero > disk/others
         $DATNODE verify --full disk/copy > full; echo checked $?
         $DATNODE ls disk/copy > full; echo listed $?
         $DATNODE clone {ticket} disk/copy --include '*'; echo full $?
         rm disk/others
         $DATNODE clone {ticket} disk/copy --include '*'; echo second $?
         cp -a disk/copy result",
        ticket = sharer.ticket()
    );
    let Some(output) = in_namespace(&user, &script) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = String::from_utf8_lossy(&output.stdout);
    let ends: Vec<&str> = lines.lines().filter(|line| line.split(' ').count() == 2).collect();
    assert_eq!(ends, ["part 0", "checked 0", "listed 0", "full 11", "second 0"], "{said}");
    assert_eq!(tree(&user.path("result")), tree(&source));
}

#[test]
fn what_cannot_fit_is_refused_at_once_and_what_is_here_already_counts() {
    let writer = User::new();
    let source = writer.path("source");
    write(&source, b"large", &noise(1, 60 << 20));
    let sharer = writer.share(&source, &[]);
    let user = User::new();
    fs::create_dir_all(user.path("disk")).unwrap();
    // Killed as soon as the file has its room, of which too little is left then for another.
    let script = format!(
        "mount -t tmpfs -o size=50m none disk || exit 99
         $DATNODE --json clone {ticket} disk/copy; echo first $? $(ls disk/copy)
         mount -o remount,size=80m disk || exit 99
         $DATNODE clone {ticket} disk/copy & clone=$!
         while ! ls -A disk/copy | grep -qv '^.dat$'; do sleep 0.01; done; kill -KILL $clone; wait $clone
         echo killed $? $(ls disk/copy)
         $DATNODE clone {ticket} disk/copy; echo second $?
         cp -a disk/copy result",
        ticket = sharer.ticket()
    );
    let Some(output) = in_namespace(&user, &script) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines, ["first 11", "killed 137", "second 0"], "{said}");
    let error: Value = said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!((&error["code"], &error["needed"]), (&"E-SPACE".into(), &(60 << 20).into()));
    assert!(error["free"].as_u64().unwrap() < 50 << 20, "{error}");
    assert_eq!(tree(&user.path("result")), tree(&source));
}

#[test]
fn a_mirror_on_a_full_disk_says_so_waits_and_goes_on_when_there_is_room() {
    let (size, disk) = (64 << 20, 16 << 20);
    let writer = User::new();
    let source = writer.path("source");
    write(&source, b"large", &noise(1, size));
    let sharer = writer.share(&source, &[]);
    let user = User::new();
    fs::create_dir_all(user.path("disk")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={disk} none disk || exit 99
         $DATNODE --json mirror {ticket} --to disk/mirrors > out 2> said & mirror=$!
         await() {{ tries=0; until grep -q \"$1\" out said; do
             sleep 0.1; tries=$((tries + 1)); [ $tries -lt 1200 ] || break; done; }}
         await E-SPACE
         mount -o remount,size=200m disk || exit 99
         await '\"version\"'
         kill -INT $mirror; wait $mirror; echo ended $?",
        ticket = sharer.ticket()
    );
    let Some(output) = in_namespace(&user, &script) else { return };
    let said = fs::read_to_string(user.path("said")).unwrap();
    let out = fs::read_to_string(user.path("out")).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ended 0\n", "{said}{out}");
    assert!(said.contains("E-SPACE") && !said.contains("panicked"), "{said}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["bytes"] == size), "it is whole at last: {out}");
    // Once all of it, and before that what fits with what was on its way; a peer is granted 24 MiB at most.
    let took = lines.iter().find(|line| line["type"] == "done").unwrap()["bytes_in"].as_u64();
    let most = size + disk + (24 << 20);
    assert!(took.is_some_and(|took| took <= (most + most / 10) as u64), "{out}");
}

#[test]
fn a_full_disk_ends_a_share_cleanly_and_the_next_one_goes_on() {
    let mut full = 0;
    for kib in [900, 1_100, 1_400, 1_800, 2_200, 8_000] {
        let user = User::new();
        let folder = user.path("disk");
        fs::create_dir_all(&folder).unwrap();
        write(&user.path("files"), b"large", &noise(1, 800_000));
        write(&user.path("files"), b"small", b"small");
        // The share is ended once it serves.
        let script = format!(
            "mount -t tmpfs -o size={kib}k none disk && cp -a files/. disk || exit 99
             $DATNODE --json share disk > said & share=$!
             while ! grep -q ready said && kill -0 $share; do sleep 0.05; done 2>/dev/null
             kill -TERM $share 2>/dev/null; wait $share
             mount -o remount,size=64m disk || exit 99
             $DATNODE share --dry-run disk; echo second $?
             $DATNODE verify disk; echo third $?"
        );
        let Some(output) = in_namespace(&user, &script) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("panicked"), "{kib} KiB: {said}");
        full += u32::from(said.contains("E-SPACE"));
        assert!(lines.contains("second 0"), "{kib} KiB: {lines} {said}");
        assert!(
            lines.contains("third 0") || lines.contains("third 10"),
            "{kib} KiB: {lines} {said}"
        );
    }
    assert!(full >= 2, "the disk was full {full} times");
}

#[test]
fn a_store_on_a_read_only_disk_is_no_reason_to_panic() {
    let user = User::new();
    write(&user.path("source"), b"file", b"some bytes");
    drop(user.share(&user.path("source"), &[]));
    let script = "mount --bind source source && mount -o remount,ro,bind source || exit 99
        for command in 'ls source' 'cat source/file' 'log source' 'verify source' 'status source' 'share source'; do
          timeout 20 $DATNODE $command; echo \"code $?\"
        done";
    let Some(output) = in_namespace(&user, script) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("panicked"), "{said}");
    let codes: Vec<&str> = lines.lines().filter_map(|line| line.strip_prefix("code ")).collect();
    assert_eq!(codes.len(), 6, "{lines} {said}");
    assert!(codes.iter().all(|code| *code == "1"), "{codes:?} {said}");
    assert_eq!(said.matches("error[E-IO]").count(), 6, "{said}");
    assert!(said.contains("read-only") || said.contains("Read-only"), "{said}");
}

#[test]
fn of_many_processes_one_has_the_store() {
    let user = User::new();
    write(&user.path("source"), b"file", &noise(1, 300_000));
    for round in 0..3 {
        let racing: Vec<_> = (0..RACERS)
            .map(|_| {
                let mut command = user.command(["--json", "share", "source"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let (mut serving, mut locked) = (Vec::new(), 0);
        for mut child in racing {
            // Whoever has the store serves until it is ended; the others end by themselves.
            let mut lines =
                std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
            if lines.any(|line| line.unwrap().contains("\"ready\"")) {
                serving.push(child);
            } else {
                let output = child.wait_with_output().unwrap();
                assert_exit(&output, 9);
                let error: Value = serde_json::from_slice(&output.stderr).unwrap();
                assert_eq!(error["code"], "E-LOCKED");
                locked += 1;
            }
        }
        assert_eq!((serving.len(), locked), (1, RACERS - 1), "round {round}");
        for mut child in serving {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let sharer = user.share(&user.path("source"), &[]);
    assert_eq!(sharer.ready["change"], 1);
    // Many readers of one folder: one fetches, and the drive is whole in the end.
    let reader = User::new();
    let clones: Vec<_> = (0..6)
        .map(|_| {
            let mut command = reader.command(["clone", sharer.ticket(), "copy"]);
            command.stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ends: Vec<_> = clones.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let codes: Vec<_> = ends.iter().map(|end| end.status.code().unwrap()).collect();
    assert!(codes.contains(&0) && codes.iter().all(|code| [0, 9].contains(code)), "{codes:?}");
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy"]), 0);
    assert_eq!(tree(&reader.path("copy")), tree(&user.path("source")));
}

/// Does to a file what editors, logs and people do, over and over.
fn meddle(path: &Path, original: &[u8], until: &AtomicBool) -> u32 {
    let mut rounds = 0;
    while !until.load(Ordering::Relaxed) {
        match rounds % 4 {
            0 => {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(b"changed", 70_000).unwrap();
            }
            1 => OpenOptions::new().write(true).open(path).unwrap().set_len(10_000).unwrap(),
            2 => {
                let other = path.with_extension("other");
                fs::write(&other, vec![7; original.len()]).unwrap();
                fs::rename(&other, path).unwrap();
            }
            _ => {
                fs::remove_file(path).unwrap();
                fs::write(path, original).unwrap();
            }
        }
        rounds += 1;
        thread::yield_now();
    }
    rounds
}

#[test]
fn a_served_file_that_changes_under_us_is_never_served_wrong() {
    let writer = User::new();
    let bytes = noise(1, 12 << 20);
    write(&writer.path("source"), b"file", &bytes);
    let sharer = writer.share(&writer.path("source"), &[]);
    let mirror = User::new();
    assert_exit(&mirror.run(["clone", sharer.ticket(), "copy"]), 0);
    let mut second = mirror.share(&mirror.path("copy"), &[]);
    let until = AtomicBool::new(false);
    let path = mirror.path("copy/file");
    thread::scope(|scope| {
        let meddling = scope.spawn(|| meddle(&path, &bytes, &until));
        for _ in 0..3 {
            let reader = User::new();
            let args = [
                "clone",
                sharer.link(),
                "copy",
                "--peer",
                second.address(),
                "--peer",
                sharer.address(),
            ];
            assert_exit(&reader.run(args), 0);
            assert_eq!(fs::read(reader.path("copy/file")).unwrap(), bytes);
        }
        until.store(true, Ordering::Relaxed);
        assert!(meddling.join().unwrap() > 4);
    });
    assert!(second.child.try_wait().unwrap().is_none(), "the mirror is still there");
}

/// Tells whether these bytes are of one moment of a file that is written over and over, from its beginning, with one more each
/// time. A write shows page by page.
fn is_of_one_moment(bytes: &[u8]) -> bool {
    let new = bytes[0];
    let written = bytes.iter().take_while(|byte| **byte == new).count();
    let old = &bytes[written..];
    old.is_empty()
        || written.is_multiple_of(4_096) && old.iter().all(|byte| *byte == new.wrapping_sub(1))
}

#[test]
fn a_file_that_changes_while_it_is_taken_in_is_taken_as_it_was_at_one_moment() {
    let user = User::new();
    let path = user.path("source/file");
    const LEN: usize = 3 << 20;
    write(&user.path("source"), b"file", &vec![0; LEN]);
    write(&user.path("source"), b"quiet", b"nobody writes this");
    let until = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0_u8;
            while !until.load(Ordering::Relaxed) {
                value = value.wrapping_add(1);
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                for at in (0..LEN).step_by(64 << 10) {
                    file.write_all_at(&vec![value; 64 << 10], at as u64).unwrap();
                }
            }
        });
        // However this ends, the writer does.
        let _writing = Stop(&until);
        for _ in 0..3 {
            let sharer = user.share(&user.path("source"), &[]);
            let address = format!("{}/file", sharer.ticket());
            let read = User::new().run(["cat", &address]);
            // Either it was read while nobody wrote, or it is said that it kept changing.
            let unsteady = sharer.ready["unsteady"].as_u64().unwrap();
            let once = read.status.success() && is_of_one_moment(&read.stdout);
            assert!(once || unsteady == 1 && !read.status.success(), "{unsteady}");
            assert_exit(&User::new().run(["cat", &format!("{}/quiet", sharer.ticket())]), 0);
        }
    });
}

/// On a disk with reflinks a version that is written out takes no room for what the drive's folder has as well, and stays as it is when
/// that is changed; what was changed before is not taken for it.
#[test]
fn a_version_that_is_written_out_shares_its_room_with_the_folder() {
    let made = Command::new("mkfs.btrfs").arg("--version").output();
    let has_loops = Path::new("/dev/loop-control").exists();
    if !made.is_ok_and(|made| made.status.success()) || !has_loops {
        eprintln!("skipped: no mkfs.btrfs, or no loop devices");
        return;
    }
    let user = User::new();
    fs::create_dir_all(user.path("disk")).unwrap();
    write(&user.path("files"), b"large", &noise(1, 40 << 20));
    write(&user.path("files"), b"other", &noise(2, 3 << 20));
    write(&user.path("files"), b"empty", b"");
    let script = "truncate -s 300M image && mkfs.btrfs -q image >&2 || exit 99
         mount -o loop image disk || exit 98
         used() { sync -f disk; df --output=used -B1 disk | tail -n 1; }
         cp -a files disk/source && $DATNODE init -q disk/source || exit 97
         $DATNODE --json share disk/source --in-place --no-watch >shared & share=$!
         until grep -q ready shared; do kill -0 $share || exit 95; sleep 0.1; done
         kill -INT $share; wait $share
         echo $(used)
         $DATNODE --json checkout 1 disk/source --into disk/out >done || exit 96
         echo $(used)
         echo more >>disk/source/large
         # Other bytes under the same size and time.
         touch -r disk/source/other before && printf X | dd of=disk/source/other conv=notrunc 2>&1
         touch -r before disk/source/other
         cmp disk/out/large files/large && cmp disk/out/other files/other && echo right
         $DATNODE --json checkout 1 disk/source --into disk/again; echo ended $?";
    let Some(output) = in_namespace(&user, script) else { return };
    let (said, lines) =
        (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    match output.status.code() {
        Some(98) => return eprintln!("skipped: no disk can be mounted here"),
        code => assert_eq!(code, Some(0), "{said}"),
    }
    let lines: Vec<&str> = lines.lines().collect();
    let used =
        |line: usize| -> u64 { lines[line].trim().parse().unwrap_or_else(|_| panic!("{said}")) };
    let done: Value = serde_json::from_slice(&fs::read(user.path("done")).unwrap()).unwrap();
    assert_eq!(done["shared"], 43 << 20, "{done}");
    assert!(used(1) < used(0) + (1 << 20), "{lines:?} {said}");
    assert!(lines.contains(&"right"), "{lines:?} {said}");
    // What changed in place is here no longer, and is not written out as if it were.
    assert!(lines.contains(&"ended 5"), "{lines:?} {said}");
}
