//! The examples of each page of help. A test types every one (`tests/tests/readme.rs`).

pub(super) const ALL: &str = "\
Examples:
  datnode share ./flights
  datnode clone dat1…
  datnode cat dat1…/README.md";

pub(super) const SHARE: &str = "\
Examples:
  datnode share ./flights
  datnode share ./flights -m March --ticket
  datnode share ./flights --dry-run --show-ignored
  datnode share --hidden --ignore '*.tmp'";

pub(super) const CLONE: &str = "\
Examples:
  datnode clone dat1…
  datnode clone dat1… ./flights --wait 5m
  datnode clone dat1…+3 ./flights-as-of-3";

pub(super) const LS: &str = "\
Examples:
  datnode ls ./flights
  datnode ls -l -R dat1…/data
  datnode ls --json dat1…+3";

pub(super) const CAT: &str = "\
Examples:
  datnode cat dat1…/movie.mkv --range 0-499
  datnode cat dat1…/movie.mkv --offset 64KiB --length 500
  datnode cat ./flights/README.md --at 3
  datnode cat dat1…/data/a.csv -o a.csv";

pub(super) const LOG: &str = "\
Examples:
  datnode log ./flights -n 5
  datnode log dat1… --stat
  datnode log ./flights --path 'data/*.csv' --reverse";

pub(super) const VERIFY: &str = "\
Examples:
  datnode verify ./flights
  datnode verify --quick ./flights
  datnode verify --repair ./flights";

pub(super) const STATUS: &str = "\
Examples:
  datnode status ./flights
  datnode status -C ./flights --json";

pub(super) const RECOVER: &str = "\
Examples:
  datnode recover ./flights
  datnode recover ./flights --wait 5m";

pub(super) const HELP: &str = "\
Examples:
  datnode help clone
  datnode help E-NOPEERS";
