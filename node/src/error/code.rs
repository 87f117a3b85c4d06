//! The kinds of errors, their names and their exit codes, in one table.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $exit:literal;)*) => {
        /// The kind of an error; each has a name, an exit code and a page of help.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name that people and scripts see, such as `E-KEY`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the exit code of a process that ends with this kind of error.
            pub const fn exit(self) -> u8 {
                match self { $(Self::$variant => $exit,)* }
            }
        }
    };
}

codes! {
    /// The command line cannot be understood.
    Usage = "E-USAGE", 2;
    /// A key, link or ticket is mistyped or of another kind.
    Key = "E-KEY", 2;
    /// A secret key was given where a public one belongs.
    SecretKey = "E-SECRETKEY", 2;
    /// Nobody offers the drive.
    NoPeers = "E-NOPEERS", 5;
    /// There are peers, but none has the data.
    NoData = "E-NODATA", 5;
    /// The whole command took longer than `--timeout`.
    Timeout = "E-TIMEOUT", 5;
    /// A signature or hash is wrong, here or at a peer.
    Verify = "E-VERIFY", 6;
    /// A path, version, row or key does not exist.
    NotFound = "E-NOTFOUND", 4;
    /// There is no drive in this folder or above it.
    NotDrive = "E-NOTDRIVE", 10;
    /// The secret key of the drive is not on this computer.
    ReadOnly = "E-READONLY", 8;
    /// Another process uses the store.
    Locked = "E-LOCKED", 9;
    /// Something of the user's would be overwritten.
    Dirty = "E-DIRTY", 7;
    /// Forks need a decision.
    Conflict = "E-CONFLICT", 7;
    /// Two rows have the same key.
    DupKey = "E-DUPKEY", 1;
    /// The columns of a table changed.
    Schema = "E-SCHEMA", 1;
    /// The disk is full.
    Space = "E-SPACE", 11;
    /// An address to listen on is taken or unusable.
    Port = "E-PORT", 1;
    /// A file kept changing while it was read.
    Changed = "E-CHANGED", 3;
    /// Only a part could be done.
    Partial = "E-PARTIAL", 3;
    /// A name cannot exist on this system, or must not be written.
    Path = "E-PATH", 3;
    /// The other side speaks a newer protocol.
    Version = "E-VERSION", 1;
    /// The store was written by a newer datnode.
    Format = "E-FORMAT", 1;
    /// Reading or writing failed.
    Io = "E-IO", 1;
    /// `diff --exit-code` found differences; never shown.
    Differs = "E-DIFFERS", 1;
    /// The user or the system asked the process to end.
    Interrupted = "E-INTERRUPTED", 130;
    /// Nobody reads the output any more; never shown.
    Pipe = "E-PIPE", 0;
}

impl Code {
    /// Tells whether nothing is said of it: the exit code is all there is to know.
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::Differs | Self::Pipe)
    }

    /// Returns the code with this name; case and the leading `E-` do not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("E-").unwrap_or(&name);
        Self::ALL.iter().copied().find(|code| code.name().strip_prefix("E-") == Some(name))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for (position, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_name(code.name()), Some(*code));
            assert_eq!(Code::from_name(&code.name().to_lowercase()[2..]), Some(*code));
            assert!(Code::ALL[..position].iter().all(|other| other.name() != code.name()));
        }
        assert_eq!(Code::from_name("E-WHATEVER"), None);
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let known = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 130];
        for code in Code::ALL {
            assert!(known.contains(&code.exit()), "{code} exits with {}", code.exit());
        }
    }
}
