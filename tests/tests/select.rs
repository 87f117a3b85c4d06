//! A clone that fetches a part of its drive: which part, in which order, and that it stays so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use datnode::landing::WINDOW_ENTRIES;
use datnode_tests::process::{Running, finish, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use serde_json::Value;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;

/// A drive of a few files, shared.
fn shared() -> (User, Sharer) {
    let user = User::new();
    let source = user.path("source");
    write(&source, b"README.md", b"read me");
    write(&source, b"docs/a.md", &noise(1, 300_000));
    write(&source, b"docs/deep/b.txt", &noise(2, 200_000));
    write(&source, b"docs/disk.iso", &noise(3, 2 * MIB));
    write(&source, b"media/film.mkv", &noise(4, 3 * MIB));
    write(&source, b"media/empty/none", b"");
    let sharer = user.share(&source, &[]);
    (user, sharer)
}

fn share_again(user: &User, sharer: Sharer, change: impl Fn(&Path)) -> Sharer {
    drop(sharer);
    change(&user.path("source"));
    user.share(&user.path("source"), &[])
}

/// Returns the files of a folder, without what is hidden at its top.
fn names(root: &Path) -> BTreeSet<String> {
    let names = tree(root).into_keys().map(|name| String::from_utf8(name).unwrap());
    names.collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn last(output: &Output) -> Value {
    assert_exit(output, 0);
    let line = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next().unwrap();
    serde_json::from_slice(line).unwrap()
}

fn clone(reader: &User, sharer: &Sharer, flags: &[&str]) -> Value {
    let args = ["--json", "clone", sharer.ticket(), "copy"];
    last(&reader.run(args.iter().chain(flags)))
}

fn status(reader: &User) -> Value {
    last(&reader.run(["--json", "status", "copy"]))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

const DOCS: &[&str] = &["docs", "docs/a.md", "docs/deep", "docs/deep/b.txt"];

#[test]
fn a_clone_fetches_what_is_selected_and_stays_with_it() {
    let (user, sharer) = shared();
    let reader = User::new();
    let done = clone(&reader, &sharer, &["--include", "docs/**", "--exclude", "*.iso"]);
    assert_eq!(names(&reader.path("copy")), set(DOCS));
    assert_eq!((&done["selected"]["files"], &done["files"]), (&2.into(), &6.into()));
    assert_eq!(done["selection"]["include"], serde_json::json!(["docs/**"]));
    let received = done["received"].as_u64().unwrap();
    assert!((500_000..700_000).contains(&received), "{received}");
    let settings = fs::read_to_string(reader.path("copy/.dat/config.toml")).unwrap();
    assert!(settings.contains("include = [\"docs/**\"]"), "{settings}");
    // What is left out is not missing, and nothing is to be done.
    let now = status(&reader);
    assert_eq!((&now["missing"], &now["next"]), (&serde_json::json!([]), &Value::Null));
    assert_eq!((&now["files"], &now["selected"]["files"]), (&6.into(), &2.into()));
    assert_eq!(now["selected"]["here"], now["selected"]["bytes"]);
    let text = said(&reader.run(["status", "copy"]));
    assert!(text.contains("2 of 6 files selected"), "{text}");
    assert!(said(&reader.run(["ls", "-R", "--missing", "copy"])).is_empty());
    assert_exit(&reader.run(["verify", "copy"]), 0);
    // The next version comes the same way, and so does what is dropped.
    let sharer = share_again(&user, sharer, |source| {
        write(source, b"docs/new.md", b"new");
        write(source, b"other/new", b"new");
        fs::remove_file(source.join("docs/a.md")).unwrap();
    });
    clone(&reader, &sharer, &[]);
    let right = ["docs", "docs/deep", "docs/deep/b.txt", "docs/new.md"];
    assert_eq!(names(&reader.path("copy")), set(&right));
    // A list that is given takes the place of the one before.
    clone(&reader, &sharer, &["--include", "/README.md"]);
    assert_eq!(names(&reader.path("copy")), set(&[&right[..], &["README.md"]].concat()));
    // Others get from it what it has.
    let part = reader.share(&reader.path("copy"), &[]);
    drop(sharer);
    let other = User::new();
    clone(&other, &part, &["--include", "docs/deep"]);
    assert_eq!(names(&other.path("copy")), set(&["docs", "docs/deep", "docs/deep/b.txt"]));
}

#[test]
fn a_killed_clone_goes_on_with_its_selection() {
    let user = User::new();
    let source = user.path("source");
    for number in 0..8_u64 {
        write(&source, format!("in/{number}").as_bytes(), &noise(number, MIB));
        write(&source, format!("out/{number}").as_bytes(), &noise(100 + number, MIB));
    }
    let sharer = user.share(&source, &["--max-up", "4M"]);
    let reader = User::new();
    let args = ["clone", sharer.ticket(), "copy", "--include", "in", "--priority", "in/5"];
    let mut child =
        reader.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(HANGS, "the first file", || reader.path("copy/in/5").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(sharer);
    let sharer = user.share(&source, &[]);
    let done = clone(&reader, &sharer, &[]);
    // What came in the seconds before it was killed may have to come again.
    let received = done["received"].as_u64().unwrap();
    assert!(received < (17 * MIB / 2) as u64, "{received}");
    assert_eq!(done["selection"]["priority"], serde_json::json!(["in/5"]));
    let right: Vec<String> = (0..8).map(|number| format!("in/{number}")).collect();
    let right = right.into_iter().chain(["in".to_owned()]).collect();
    assert_eq!(names(&reader.path("copy")), right);
}

#[test]
fn a_selection_is_changed_and_the_rest_fetched_once() {
    let (user, sharer) = shared();
    let reader = User::new();
    clone(&reader, &sharer, &["--include", "docs", "--exclude", "*.iso"]);
    let included = reader.run(["include", "copy", "media", "README.md"]);
    assert_exit(&included, 0);
    let text = said(&included);
    assert!(text.contains("5 of 6 files selected"), "{text}");
    assert!(text.contains("datnode clone") && text.contains("3.0 MiB to fetch"), "{text}");
    assert!(!reader.path("copy/README.md").exists(), "nothing is fetched yet");
    assert_eq!(said(&reader.run(["include", "copy"])), "docs\nmedia\nREADME.md\n");
    let received = clone(&reader, &sharer, &[])["received"].as_u64().unwrap();
    assert!((3 * MIB as u64..7 * MIB as u64 / 2).contains(&received), "{received}");
    // In the clone's folder the folder need not be named; a folder of the drive is a glob.
    assert_exit(&reader.run(["-C", "copy", "exclude", "media"]), 0);
    assert_eq!(said(&reader.run(["-C", "copy/docs", "exclude"])), "*.iso\nmedia\n");
    assert_exit(&reader.run(["exclude", "copy", "--remove", "*.iso"]), 0);
    assert_exit(&reader.run(["exclude", "copy", "--remove", "*.oso"]), 4);
    let received = clone(&reader, &sharer, &[])["received"].as_u64().unwrap();
    assert!((2 * MIB as u64..5 * MIB as u64 / 2).contains(&received), "{received}");
    for list in ["include", "exclude"] {
        assert_exit(&reader.run([list, "copy", "--clear"]), 0);
    }
    assert_eq!(clone(&reader, &sharer, &[])["received"], 0, "all of it was fetched before");
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
    assert_eq!(status(&reader)["selection"]["include"], serde_json::json!([]));
}

#[test]
fn what_is_left_out_later_stays_as_it_is() {
    let (user, sharer) = shared();
    let reader = User::new();
    clone(&reader, &sharer, &[]);
    let excluded = reader.run(["exclude", "copy", "media", "*.iso", "docs/a.md"]);
    assert_exit(&excluded, 0);
    assert!(said(&excluded).contains("3 files left out now are here and will stay"));
    let versions = |number: u64| {
        move |source: &Path| {
            write(source, b"media/film.mkv", &noise(40 + number, 3 * MIB));
            write(source, b"README.md", format!("version {number}").as_bytes());
            let _ = fs::remove_file(source.join("docs/a.md"));
        }
    };
    // A version that changes one of them, drops another, and one that the user deletes.
    fs::remove_file(reader.path("copy/docs/disk.iso")).unwrap();
    let mut sharer = sharer;
    for number in 1..=3 {
        sharer = share_again(&user, sharer, versions(number));
        let done = clone(&reader, &sharer, &[]);
        assert!(done["received"].as_u64().unwrap() < 100_000, "{done}");
    }
    let copy = |name: &str| fs::read(reader.path("copy").join(name)).unwrap();
    assert_eq!(copy("README.md"), b"version 3");
    assert_eq!(copy("media/film.mkv"), noise(4, 3 * MIB));
    assert_eq!(copy("docs/a.md"), noise(1, 300_000));
    assert!(!reader.path("copy/docs/disk.iso").exists());
    let now = status(&reader);
    assert_eq!((&now["missing"], &now["next"]), (&serde_json::json!([]), &Value::Null));
    let checked = last(&reader.run(["--json", "verify", "--full", "copy"]));
    assert_eq!(checked["bad"], serde_json::json!([]), "{checked}");
    // Wanted again, it is still known to be ours: it is replaced and removed without force.
    assert_exit(&reader.run(["exclude", "copy", "--clear"]), 0);
    clone(&reader, &sharer, &[]);
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    assert_exit(&reader.run(["verify", "--full", "copy"]), 0);
}

#[test]
fn what_is_left_out_and_the_users_own_is_in_nobodys_way() {
    let (user, sharer) = shared();
    let reader = User::new();
    write(&reader.path("copy"), b"media", b"a file of mine");
    write(&reader.path("copy"), b"docs/disk.iso", b"mine");
    clone(&reader, &sharer, &["--exclude", "media", "--exclude", "*.iso"]);
    let sharer = share_again(&user, sharer, |source| {
        fs::remove_dir_all(source.join("media")).unwrap();
        fs::remove_file(source.join("docs/disk.iso")).unwrap();
    });
    clone(&reader, &sharer, &[]);
    assert_eq!(fs::read(reader.path("copy/media")).unwrap(), b"a file of mine");
    assert_eq!(fs::read(reader.path("copy/docs/disk.iso")).unwrap(), b"mine");
    // What is wanted no longer stays, and the folders that it is in; what is wanted and dropped goes.
    let sharer = share_again(&user, sharer, |source| {
        fs::remove_dir_all(source.join("docs")).unwrap();
    });
    clone(&reader, &sharer, &["--include", "*.md"]);
    let stays = ["docs", "docs/deep", "docs/deep/b.txt", "docs/disk.iso", "media"];
    assert_eq!(names(&reader.path("copy")), set(&[&stays[..], &["README.md"]].concat()));
}

#[test]
fn a_sparse_clone_has_history_and_names_and_fetches_what_is_read() {
    let (user, sharer) = shared();
    let reader = User::new();
    let done = clone(&reader, &sharer, &["--sparse"]);
    assert!(done["received"].as_u64().unwrap() < 100_000, "{done}");
    assert_eq!(names(&reader.path("copy")), set(&[]));
    clone(&reader, &sharer, &[]);
    assert_eq!(names(&reader.path("copy")), set(&[]), "it stays sparse");
    let now = status(&reader);
    assert_eq!((&now["selected"]["files"], &now["missing"]), (&0.into(), &serde_json::json!([])));
    assert_eq!(now["selection"]["sparse"], true);
    // `cat` fetches what it reads, and keeps it.
    let film = noise(4, 3 * MIB);
    let cat = |more: &[&str]| {
        let args = ["-v", "cat", "copy/media/film.mkv"];
        let output = reader.run(args.iter().chain(more));
        assert_exit(&output, 0);
        output.stdout
    };
    assert!(cat(&["--peer", sharer.address()]) == film);
    drop(sharer);
    assert!(cat(&["--offline"]) == film);
    for line in ["ls -R copy", "log copy", "stat copy/docs/a.md", "status copy", "du copy"] {
        assert_exit(&reader.run(line.split(' ')), 0);
    }
    let output = reader.run(["cat", "copy/docs/a.md", "--wait", "300ms"]);
    assert_exit(&output, 5);
    // What was read is not fetched again.
    let sharer = user.share(&user.path("source"), &[]);
    assert_exit(&reader.run(["include", "copy", "media/**"]), 0);
    let received = clone(&reader, &sharer, &[])["received"].as_u64().unwrap();
    assert!(received < 100_000, "{received}");
    let right = ["media", "media/empty", "media/empty/none", "media/film.mkv"];
    assert_eq!(names(&reader.path("copy")), set(&right));
    assert_exit(&reader.run(["include", "copy", "--clear"]), 0);
    clone(&reader, &sharer, &["--no-sparse"]);
    assert_eq!(tree(&user.path("source")), tree(&reader.path("copy")));
    // Its other names.
    for flag in ["--skim", "--empty"] {
        let other = User::new();
        clone(&other, &sharer, &[flag]);
        assert_eq!(names(&other.path("copy")), set(&[]));
    }
}

#[test]
fn what_comes_first_is_there_first() {
    let user = User::new();
    let source = user.path("source");
    for number in 0..6_u64 {
        write(&source, format!("a/{number}").as_bytes(), &noise(number, MIB));
        write(&source, format!("z/{number}").as_bytes(), &noise(100 + number, MIB));
    }
    write(&source, b"z/index.md", b"read this first");
    let sharer = user.share(&source, &["--max-up", "4M"]);
    let reader = User::new();
    let args = ["clone", sharer.ticket(), "copy", "--priority", "*.md", "--priority", "z"]
        .map(str::to_owned);
    let child = Running::new(
        reader.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    );
    let copy = reader.path("copy");
    let here = |folder: &str| {
        (0..6).filter(|number| copy.join(format!("{folder}/{number}")).exists()).count()
    };
    wait_until(HANGS, "one of the second", || here("z") > 0);
    assert!(copy.join("z/index.md").exists());
    wait_until(HANGS, "one of the rest", || here("a") > 0);
    assert_eq!(here("z"), 6);
    assert_exit(&child.finish(HANGS).output, 0);
    assert_eq!(tree(&source), tree(&copy));
}

#[test]
fn a_drive_of_several_windows_lands_in_passes() {
    let user = User::new();
    let source = user.path("source");
    let name =
        |number: usize| format!("{:02}/{number:05}.{}", number % 7, ["a", "b", "c"][number % 3]);
    let count = 2 * WINDOW_ENTRIES + 100;
    for number in 0..count {
        write(&source, name(number).as_bytes(), number.to_string().as_bytes());
    }
    // What changes its place and its kind between the passes.
    write(&source, b"large.a", &noise(1, MIB));
    write(&source, b"large.b", &noise(2, MIB));
    write(&source, b"file-then-folder", &noise(3, MIB));
    let sharer = user.share(&source, &[]);
    let reader = User::new();
    let flags =
        ["--exclude", "*.c", "--priority", "*.b", "--priority", "03", "--priority", "first"];
    clone(&reader, &sharer, &flags);
    let taken = |number: &usize| number % 3 != 2;
    let assert_whole = || {
        let (theirs, mut ours) = (tree(&source), tree(&reader.path("copy")));
        let left =
            theirs.into_iter().filter(|(name, thing)| ours.remove(name).as_ref() != Some(thing));
        let left: Vec<_> = left.map(|(name, _)| String::from_utf8(name).unwrap()).collect();
        let right: BTreeSet<_> = (0..count).filter(|number| !taken(number)).map(name).collect();
        assert_eq!(left.into_iter().collect::<BTreeSet<_>>(), right);
        assert!(ours.is_empty(), "{ours:?}");
        assert_exit(&reader.run(["verify", "copy"]), 0);
    };
    assert_whole();
    let sharer = share_again(&user, sharer, |source| {
        write(source, b"large.a", &noise(2, MIB));
        write(source, b"large.b", &noise(1, MIB));
        fs::rename(source.join("file-then-folder"), source.join("aside")).unwrap();
        fs::create_dir(source.join("file-then-folder")).unwrap();
        fs::rename(source.join("aside"), source.join("file-then-folder/first")).unwrap();
        write(source, b"03/00003.a", b"changed");
    });
    let received = clone(&reader, &sharer, &[])["received"].as_u64().unwrap();
    assert!(received < MIB as u64, "{received}: what changed places was here");
    assert_whole();
}

#[test]
fn a_process_that_fetches_goes_on_with_what_it_began() {
    let user = User::new();
    write(&user.path("source"), b"in", &noise(1, 8 * MIB));
    write(&user.path("source"), b"out", &noise(2, MIB));
    let sharer = user.share(&user.path("source"), &["--max-up", "2M"]);
    let reader = User::new();
    let args = ["clone", sharer.ticket(), "copy", "--exclude", "out"];
    let child = reader.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = child.id();
    let serves = || {
        // One that has the store and does not answer yet is told of as well.
        let status = reader.run(["--json", "status", "copy"]);
        status.status.success() && last(&status)["serving"][0]["pid"] == id
    };
    wait_until(HANGS, "it tells of itself", || reader.path("copy/.dat/key").exists() && serves());
    let changed = last(&reader.run(["--json", "exclude", "copy", "--clear"]));
    assert_eq!((&changed["fetching"], &changed["changed"]), (&id.into(), &true.into()));
    assert_exit(&finish(child, HANGS).output, 0);
    assert_eq!(names(&reader.path("copy")), set(&["in"]));
    clone(&reader, &sharer, &[]);
    assert_eq!(names(&reader.path("copy")), set(&["in", "out"]));
}

#[test]
fn globs_that_make_no_sense_are_mistakes() {
    let (user, sharer) = shared();
    let reader = User::new();
    for glob in ["", " ", "!docs", "../docs", "docs/..", "./docs", "/", "a{b", "[", "\\"] {
        for flag in ["--include", "--exclude", "--priority"] {
            let args =
                ["clone", sharer.ticket(), "copy", &format!("{flag}={glob}")].map(String::from);
            assert_exit(&reader.run(args), 2);
        }
    }
    let many: Vec<String> = (0..10_000).map(|number| format!("--exclude=x{number}")).collect();
    let args = ["clone", sharer.ticket(), "copy"].map(str::to_owned);
    assert_exit(&reader.run(args.iter().chain(&many)), 2);
    let deep = format!("--exclude={}", "{a,b}".repeat(700));
    let output = reader.run(args.iter().chain([&deep]));
    assert!(matches!(output.status.code(), Some(0 | 2)), "{}", said(&output));
    let _ = fs::remove_dir_all(reader.path("copy"));
    assert_exit(&reader.run(["clone", sharer.ticket(), "copy", "--sparse", "--no-sparse"]), 2);
    assert!(!reader.path("copy").exists());
    clone(&reader, &sharer, &["--include", "/docs"]);
    assert_eq!(names(&reader.path("copy")).len(), 5);
    for words in
        [&["include", "copy", "!x"][..], &["include", "copy", ""], &["exclude", "copy", ".."]]
    {
        assert_exit(&reader.run(words), 2);
    }
    assert_exit(&reader.run(["include", "x"]), 10);
    assert_exit(&reader.run(["include", sharer.link(), "x"]), 0);
    assert_eq!(said(&reader.run(["include", "copy"])), "/docs\nx\n");
    // A user has no selection for all drives, and a writer none at all.
    assert_exit(&reader.run(["config", "set", "clone.exclude", "*.iso"]), 2);
    assert_exit(
        &reader.run(["-C", "copy", "config", "set", "--drive", "clone.exclude", "*.iso"]),
        0,
    );
    assert_eq!(status(&reader)["selection"]["exclude"], serde_json::json!(["*.iso"]));
    fs::write(reader.path("copy/.dat/config.toml"), "[clone]\ninclude = ['!x']\n").unwrap();
    let output = reader.run(["clone", sharer.ticket(), "copy"]);
    assert_exit(&output, 2);
    assert!(said(&output).contains("config.toml"), "{}", said(&output));
    assert_exit(&user.run(["exclude", "source", "*.iso"]), 2);
}
