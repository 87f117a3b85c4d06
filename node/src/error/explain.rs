//! The page of help for each code.

use super::Code;

impl Code {
    /// Returns what the code means and what to do, in a few sentences.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Usage => {
                "The command line cannot be understood. `datnode help` lists the commands, and each has --help."
            }
            Self::Key => {
                "A key, link or ticket is mistyped, cut off, or of another kind. Keys carry a checksum, so one wrong character is noticed before anything is done. Copy it again, whole."
            }
            Self::SecretKey => {
                "A secret key (datsec1…) was given where a public one belongs. Never share it: whoever has it can write to the drive. Give the link (dat1…) instead."
            }
            Self::NoPeers => {
                "Nobody who offers the drive was found in time. Is `datnode share` running on the other side? A ticket holds its addresses; --peer gives one by hand, --bootstrap one of a node that both know; --wait sets how long to look."
            }
            Self::NoData => {
                "Somebody is connected, but does not have what is asked for, or sends nothing. What is here is kept; run the command again when more people are online."
            }
            Self::Timeout => "The whole command took longer than --timeout.",
            Self::Verify => {
                "A signature or a hash is wrong. From a peer, such bytes are thrown away; in a store, `datnode verify` tells which blocks are damaged, and `datnode verify --repair` fetches them again."
            }
            Self::NotFound => {
                "The path or version does not exist in this drive. `datnode ls` and `datnode log` show what does."
            }
            Self::NotDrive => {
                "There is no drive in this folder or above it. `datnode share` makes one, `datnode clone` fetches one."
            }
            Self::ReadOnly => {
                "The secret key of the drive is not on this computer, so it can be read and served here, not changed."
            }
            Self::Locked => {
                "Another process has the drive open. Its process number is shown; the lock ends with it."
            }
            Self::Dirty => {
                "Files are in the way that the drive would overwrite. Nothing was written. Move them, choose another folder, or use --force."
            }
            Self::Conflict => "Two changes exclude each other and need a decision.",
            Self::DupKey => "Two rows have the same primary key. Nothing was written.",
            Self::Schema => "The columns of a table changed.",
            Self::Space => {
                "The disk is full. What is here stays sound; free some space and run the same command again."
            }
            Self::Port => {
                "An address to listen on is taken or cannot be used. Choose another with --port or --listen."
            }
            Self::Changed => {
                "A file kept changing while it was read. Its old version stays in the drive; share again when it is at rest."
            }
            Self::Partial => {
                "Part of the work could not be done; the message says which. The rest was done."
            }
            Self::Path => {
                "A name cannot exist on this disk, is another name of the drive to it (as A and a on some), or must not be written. It is listed and left out; the rest is done."
            }
            Self::Version => "The other side speaks a newer protocol. Update this datnode.",
            Self::Format => {
                "The store was written by a newer datnode. It was not touched. Update this datnode."
            }
            Self::Io => {
                "The system refused to read or write something. The message says what and why."
            }
            Self::Differs => "`diff --exit-code` found differences.",
            Self::Interrupted => {
                "The command was interrupted. Run it again: it goes on where it was."
            }
            Self::Pipe => "Whoever read the output went away.",
        }
    }
}
