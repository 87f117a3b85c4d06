//! Shares and clones real folders with the built binary, end to end on this computer, beside `cp`, BLAKE3 and `rsync`.
//!
//! `cargo bench -p datnode --bench whole` prints one table: of five interleaved rounds the least and the median, and the ratio
//! of the least ones to the reference's. Times of different rounds, or of different computers, say little; ratios do.
//! `-- --quick`: a tenth of the data, one round. `-- --live`: live edits alone; `-- --folders`: all but them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

mod data;
mod live;
mod node;
mod process;
mod reference;
mod relay;
mod table;

use std::path::Path;

use data::Outs;
use reference::Rsync;
use table::Table;

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let only_live = std::env::args().any(|arg| arg == "--live");
    let only_folders = std::env::args().any(|arg| arg == "--folders");
    let (rounds, scale) = if quick { (1, 10) } else { (5, 1) };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let large = data::large(&folder, (2 << 30) / scale);
    let small = data::small(&folder, 47_000 / scale);
    let edits = data::edits(&folder, (128 << 20) / scale);
    let mut outs = Outs::new(&folder);
    let rsync = Rsync::start(&folder);
    if rsync.is_none() {
        eprintln!("rsync is not installed: its columns stay empty");
    }
    let mut table = Table::default();
    for round in (1..=rounds).filter(|_| !only_live) {
        eprintln!("round {round} of {rounds}");
        folders(&mut table, "one file", &large, &mut outs, rsync.as_ref());
        folders(&mut table, "small files", &small, &mut outs, rsync.as_ref());
        after_edits(&mut table, &edits, &mut outs);
    }
    if !only_folders {
        live::edits(&mut table, &large, &mut outs, rsync.as_ref(), rounds);
    }
    drop(outs);
    let mebibytes = |folder: &Path| data::size(folder) >> 20;
    println!(
        "One file of {} MiB; {} small files of {} MiB in all; edits in a file of {} MiB.\n",
        mebibytes(&large),
        data::files(&small).len(),
        mebibytes(&small),
        mebibytes(&edits) / 2
    );
    table.print();
}

/// Shares and clones a folder, and lets the references do the same.
fn folders(table: &mut Table, what: &str, source: &Path, outs: &mut Outs, rsync: Option<&Rsync>) {
    let gibibytes = data::size(source) as f64 / (1_u64 << 30) as f64;
    let row = |name: &str| format!("{what}: {name}");
    let _ = std::fs::remove_dir_all(source.join(".dat"));
    outs.with(|out| {
        let copied = reference::copy(source, out);
        table.reference("cp", what, copied.seconds);
        table.reference("cp, made durable", what, copied.durable_seconds);
    });
    table.reference("blake3, one thread", what, reference::hash(source));
    if let Some(rsync) = rsync {
        outs.with(|out| {
            let seconds = rsync.fetch(source, out);
            table.reference("rsync", what, seconds);
            table.reference("rsync, made durable", what, seconds + reference::flush(out));
        });
    }

    let (writer, reader) = (outs.home("writer"), outs.home("reader"));
    data::settle();
    let sharer = writer.share(source, &[]);
    table.seconds(&row("share"), sharer.ready_after, Some(("cp", what)));
    let durable = Some(("cp, made durable", what));
    table.seconds(&row("share, which is durable"), sharer.ready_after, durable);
    table.mebibytes(&row("disk of the share's store"), data::size(&source.join(".dat")));
    outs.with(|out| {
        let before = sharer.usage();
        let cloned = reader.clone(&sharer, out);
        let after = sharer.usage();
        table.seconds(&row("clone"), cloned.seconds, Some(("rsync", what)));
        let durable = Some(("rsync, made durable", what));
        table.seconds(&row("clone, which is durable"), cloned.seconds, durable);
        let spent = cloned.usage.cpu_seconds + after.cpu_seconds - before.cpu_seconds;
        table.number(&row("clone, CPU of both ends, s/GiB"), spent / gibibytes);
        table.mebibytes(&row("anonymous memory, share"), after.anonymous_peak);
        table.mebibytes(&row("anonymous memory, clone"), cloned.usage.anonymous_peak);
        table.mebibytes(&row("disk of the clone's store"), data::size(&out.join(".dat")));
    });
    let file = data::first_file(source);
    let middle = std::fs::metadata(source.join(&file)).expect("it was made").len() / 2;
    let bytes = format!("{middle}-{}", middle + (64 << 10) - 1);
    let range = outs.home("stranger").range(&sharer, &file, &bytes);
    table.number(&row("64 KiB of a file from the middle, ms"), range.seconds * 1e3);
    table.number(&row("the same, KiB received"), range.received as f64 / 1024.0);
    drop(sharer);

    let again = writer.share(source, &[]);
    table.seconds(&row("share again, unchanged"), again.ready_after, None);
    drop(again);

    let _ = std::fs::remove_dir_all(source.join(".dat"));
    data::settle();
    let in_place = writer.share(source, &["--in-place"]);
    let reference = Some(("blake3, one thread", what));
    table.seconds(&row("share in place"), in_place.ready_after, reference);
    outs.with(|out| {
        let before = in_place.usage();
        let cloned = reader.clone(&in_place, out);
        table.seconds(&row("clone of that"), cloned.seconds, Some(("rsync", what)));
        let spent = cloned.usage.cpu_seconds + in_place.usage().cpu_seconds - before.cpu_seconds;
        table.number(&row("clone of that, CPU of both ends, s/GiB"), spent / gibibytes);
    });
}

/// Edits files, shares and clones again: how much goes over the wire.
fn after_edits(table: &mut Table, source: &Path, outs: &mut Outs) {
    let (writer, reader) = (outs.home("writer"), outs.home("reader"));
    let _ = std::fs::remove_dir_all(source.join(".dat"));
    let sharer = writer.share(source, &[]);
    outs.with(|out| {
        reader.clone(&sharer, out);
        drop(sharer);
        for (name, edit) in [
            ("4 KiB edited in the middle", data::overwrite_middle as fn(&Path)),
            ("1 KiB inserted at the front", data::insert_front),
        ] {
            edit(&source.join("large-0"));
            let sharer = writer.share(source, &[]);
            let row = |what: &str| format!("{name} of a file: {what}");
            table.seconds(&row("share again"), sharer.ready_after, None);
            let cloned = reader.clone(&sharer, out);
            table.seconds(&row("clone again"), cloned.seconds, None);
            table.number(&row("KiB received"), cloned.received as f64 / 1024.0);
        }
    });
}
