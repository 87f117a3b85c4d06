//! Pages of help that are about no single command.

use std::fmt::Write as _;

use super::settings::SECTIONS;
use crate::error::Code;

/// The topics with a page, each with a line about it.
pub const TOPICS: &[(&str, &str)] = &[
    ("addresses", "how drives, versions and paths are written"),
    ("keys", "what the kinds of keys are, and where secrets are kept"),
    ("names", "how drives get names"),
    ("origins", "drives that come from web servers, or by ssh"),
    ("network", "how peers are found, and what strangers learn"),
    ("ignore", "what share leaves out"),
    ("selection", "what clone fetches of a drive, and what first"),
    ("settings", "flags, variables and files"),
    ("json", "output for programs"),
    ("exit-codes", "how commands end"),
    ("errors", "all error codes"),
];

/// How much of an explanation is shown in the list of all.
const LINE_CHARS: usize = 100;

/// Returns the page of a topic, if there is one.
pub fn page(topic: &str) -> Option<String> {
    Some(match topic {
        "addresses" => ADDRESSES.to_owned(),
        "keys" => KEYS.to_owned(),
        "names" => NAMES.to_owned(),
        "origins" => ORIGINS.to_owned(),
        "network" => NETWORK.to_owned(),
        "ignore" => IGNORE.to_owned(),
        "selection" => SELECTION.to_owned(),
        "settings" => settings(),
        "json" => JSON.to_owned(),
        "exit-codes" => EXIT_CODES.to_owned(),
        "errors" => errors(),
        _ => return None,
    })
}

/// Returns the list of topics, as help shows it.
pub fn list() -> String {
    let mut text = String::from("Topics:\n");
    for (name, about) in TOPICS {
        let _ = writeln!(text, "  {name:<12} {about}");
    }
    text
}

const ADDRESSES: &str = "\
Addresses

  DRIVE[+VERSION][/PATH]

A DRIVE is one of
  dat1…            its link: the public key, 62 characters
  64 hex digits    the same key; 52 characters of z-base-32 are understood, too
  dat://KEY        the same with a scheme
  datticket…       a ticket: the key with addresses of somebody who serves it
  flights          a name, given by --name or by clone (datnode help names)
  ./flights        a folder; it begins with . / or ~, or it exists and is no name

A VERSION follows the drive directly:
  dat1…+12         change number 12
  dat1…+b3f9c1     the version whose hash begins so (6 characters or more)
  dat1…+latest     the newest, which is meant if nothing is said
  dat1…+@2026-11-01T12:00   as it was then
  dat1…+v1         what its owner named v1 (datnode help tag)

Paths are raw bytes. A slash at the end never changes what is meant.
";

const ORIGINS: &str = "\
Origins

A drive can be fetched from a place that is no peer, since nobody has to find it:
  https://HOST[:PORT]/FOLDER           what datnode publish wrote, on any web server that sends parts of files (Range); http:// too
  ssh://[USER@]HOST[:PORT]/FOLDER      a drive's folder on a computer that you may log in to; /~/FOLDER is below your home there

  datnode clone https://HOST/FOLDER    asks which drive it is, and fetches it
  datnode clone dat1… --from ORIGIN    fetches the drive of that key and no other, from there and from peers

What comes is verified like what any peer sends. A clone remembers its origins: pull, sync and clone --live ask them again. Those
that a later clone names replace them; purge forgets them.

By ssh, `datnode pipe FOLDER` is run there, which serves the drive read-only on its standard streams. It needs datnode in the PATH
of commands that ssh runs. Instead of ssh another command may do it, with its own flags: DATNODE_SSH='ssh -i ~/.ssh/other'.
";

const KEYS: &str = "\
Keys

The public key of a drive (dat1…) lets anyone read it; there is nothing else to know. Give it only to those who may read.

The secret key lets its owner change the drive. It is made by share or init, and stays in the data directory of the user
(keys/ in $DATNODE_HOME, else in $XDG_DATA_HOME/datnode), readable by its owner alone. It is never in the drive's folder: a folder
that is copied gives nothing away.

  datnode keys                    lists the secret keys here
  datnode keys export flights     writes flights.datkey beside the folder, enciphered with a passphrase (age, scrypt)
  datnode keys import FILE        takes it in on another computer

Use a secret key on one computer at a time: two that write with one key split the drive into two histories.

A node has a key of its own (node.key). It says who is connected, not what is shared.
";

const NAMES: &str = "\
Names

A name stands for a drive on this computer, for this user; it travels nowhere.

  datnode share ./flights --name flights
  datnode clone dat1… ./copy --name flights

Without --name a clone takes the drive's own name, if it is free here. A name is used wherever a key is: datnode ls flights/data. It
stands for the drive's folder, and for its key where the folder is gone. Where a name is also a folder of something else, ./NAME is
the folder, and the key the drive. datnode status --all lists all drives with their names.
";

const NETWORK: &str = "\
Network

Peers are found
  on this computer      processes of this user find each other at once
  by a ticket           it carries addresses, and ways into the DHT: share --ticket, or link --ticket
  by --peer ADDRESS     a multiaddr, such as /ip4/192.168.1.20/tcp/3282
  on the LAN            (--discover lan, or --lan) nodes announce themselves, not what they share
  by memory             who served a drive before is asked again
  far away              (--discover dht) by a DHT, into which --bootstrap ADDRESS leads: any datnode node; none is built in
--discover none turns the last three off; --offline asks nobody on other computers at all.

A node listens on TCP and UDP port 3282, or any free one if that is taken. To be reached from outside it asks the router for this
port (--no-upnp: not); forward it by hand where that fails, and say where by --external 203.0.113.7, or a DNS name. Who cannot be
reached meets others half-way, arranged through a relay, which carries no drive (--no-relay: not). share and status say how you are
reached, peers how each peer is connected.

What is said between nodes is enciphered, and both prove their node keys. A stranger without a drive's key learns neither the key
nor whether you have the drive. The DHT knows drives by a hash of the key, and tells whoever has that hash where you are; its
nodes see which hashes you look for. Whoever has the key sees your address while you are connected.

--max-up and --max-down limit the rates; datnode config set network.max-up 2M changes that of processes that run.
";

const IGNORE: &str = "\
What share leaves out

  hidden names     those that begin with a dot, unless --hidden is given; they are counted
  .datignore       files with the rules of .gitignore, in any folder; --no-ignore pays no heed to them
  .gitignore       only with --gitignore
  --ignore GLOB    as a line of a .datignore at the top would
  .dat             the store itself, always

share --show-ignored lists what is left out and why; datnode ignored PATH names the rule.
";

const SELECTION: &str = "\
What clone fetches

  --include GLOB    only what matches; without it, everything
  --exclude GLOB    not what matches, whatever is included
  --priority GLOB   this before anything else; of several the first one first
  --sparse          the history and the names, and no file but what is included; cat fetches what it reads, and keeps it
  --no-sparse       the files as well, from now on

A glob is as in .datignore: a name anywhere (*.md), a path from the top of the drive (/README.md, docs/*.md), or a folder with all
that is in it (docs, docs/**). Folders above what is included are made.

All of it is kept in the clone (.dat/config.toml), so that clone goes on with the same, also after it was killed. A list that is
given again takes the place of the one before. These change it, and the next clone fetches what is new:
  datnode include ./flights 'data/**'       datnode exclude ./flights '*.iso'
  datnode include ./flights                 lists them; --remove GLOB takes one away, --clear all

What is here and left out later stays as it is, is no longer brought up to date, and is not missing: it may be changed and deleted.
A process that is fetching goes on with what it began.
";

const JSON: &str = "\
Output for programs

With --json every command prints JSON to stdout: one document, or one object a line where there is no end to them (ls, log, peers,
and share and clone, which print lines of progress before their ready or done). Errors and warnings are one line each on stderr:
  {\"type\":\"error\",\"code\":\"E-NOPEERS\",\"exit\":5,\"message\":…,\"hints\":[…]}
Fields are only ever added. A name that is not UTF-8 is escaped in path and exact in path_b64 (base64). Numbers of bytes are
integers, times RFC 3339. The schemas are in node/schema of the source.
";

const EXIT_CODES: &str = "\
Exit codes

  0    done
  1    another failure
  2    wrong usage, or a mistyped key
  3    partly: some files could not be read, or only part is here
  4    a path, version or key was not found
  5    no peers, or peers without the data, within --wait
  6    verification failed: bad signature, hash, or damage here
  7    something is in the way, or a fork needs a decision
  8    not writable: the secret key is not here
  9    the store is in use
  10   no drive here
  11   the disk is full
  130  interrupted
Others may be added: treat them as failures.
";

fn settings() -> String {
    let mut text = String::from(
        "\
Settings

Each flag has a variable, its name in capitals: --max-up is DATNODE_MAX_UP. Settings that are to last are in files:
  the drive's   .dat/config.toml in its folder
  the user's    config.toml in $DATNODE_HOME, else in $XDG_CONFIG_HOME/datnode; another one with --config FILE
A flag comes before its variable, that before the drive's file, that before the user's, that before the default.

  datnode config show --origin
  datnode config set network.max-up 2M
  datnode config set share.hidden true --drive
  datnode config set share.ignore '*.tmp' '*.{bak,old}'

Values are those of the flag; a list has several, as a flag that is given more than once. What a file switches on is switched off by
its variable: DATNODE_HIDDEN=0.

DATNODE_HOME moves all that is kept for a user: keys, settings, state.

",
    );
    for section in SECTIONS {
        let _ = writeln!(text, "  [{}]   {}", section.name, section.flags.join(", "));
    }
    text
}

fn errors() -> String {
    let mut text = String::from("Errors\n\ndatnode help E-CODE explains each.\n\n");
    for code in Code::ALL.iter().filter(|code| !code.is_silent()) {
        let first =
            code.explanation().split_once(". ").map_or(code.explanation(), |(first, _)| first);
        let first = match first.char_indices().nth(LINE_CHARS) {
            Some((end, _)) => {
                let words = first[..end].rsplit_once(' ').map_or(&first[..end], |(words, _)| words);
                format!("{words} …")
            }
            None => first.to_owned(),
        };
        let _ = writeln!(text, "  {:<14} exit {:<4} {first}", code.name(), code.exit());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_a_page_that_fits_a_terminal() {
        for (name, about) in TOPICS {
            let page = page(name).unwrap_or_else(|| panic!("{name} has no page"));
            assert!(list().contains(about));
            for line in page.lines() {
                assert!(line.chars().count() <= 132, "{name}: {line}");
            }
        }
        assert_eq!(page("weather"), None);
    }

    #[test]
    fn every_code_is_listed() {
        let all = page("errors").unwrap();
        for code in Code::ALL.iter().filter(|code| !code.is_silent()) {
            assert!(all.contains(code.name()), "{code}");
        }
        for code in Code::ALL {
            let exit = format!("  {:<4}", code.exit());
            assert!(EXIT_CODES.contains(&exit), "{code} exits with {}", code.exit());
        }
    }
}
