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
  datnode share ./flights --hidden --ignore '*.tmp'";

pub(super) const INIT: &str = "\
Examples:
  datnode init ./empty
  datnode init --bare ./uploads --name uploads";

pub(super) const LINK: &str = "\
Examples:
  datnode link ./flights
  datnode link ./flights --qr
  datnode link ./flights --at 1";

pub(super) const CLONE: &str = "\
Examples:
  datnode clone dat1…
  datnode clone dat1… ./flights --live
  datnode clone dat1…+3 ./flights-as-of-3
  datnode clone dat1… ./part --include 'data/**' --exclude '*.iso'";

pub(super) const PULL: &str = "\
Examples:
  datnode pull ./flights
  datnode pull ./flights --wait 5m";

pub(super) const PUBLISH: &str = "\
Examples:
  datnode publish ./site ./flights
  datnode publish --json ./site ./flights";

pub(super) const PIPE: &str = "\
Examples:
  datnode pipe ./flights
  datnode pipe flights";

pub(super) const CHECKOUT: &str = "\
Examples:
  datnode checkout 1 ./flights --into ./flights-as-of-1
  datnode checkout latest ./flights";

pub(super) const SYNC: &str = "\
Examples:
  datnode sync ./flights
  datnode sync ./flights --max-down 5MB";

pub(super) const MIRROR: &str = "\
Examples:
  datnode mirror dat1… --to ./mirrors
  datnode mirror dat1… --to ./latest --history latest --quota 500GiB
  datnode mirror dat1… --to ./checked --verify-every 7d";

pub(super) const NODE: &str = "\
Examples:
  datnode node
  datnode node dat1… --to ./drives --metrics 127.0.0.1:0
  datnode node --listen 127.0.0.1 --port 0";

pub(super) const INCLUDE: &str = "\
Examples:
  datnode include ./flights 'data/**' README.md
  datnode include ./flights
  datnode include ./flights --remove README.md
  datnode include ./flights --clear";

pub(super) const EXCLUDE: &str = "\
Examples:
  datnode exclude ./flights '*.iso' 'data/old'
  datnode exclude ./flights --remove 'data/old'
  datnode exclude ./flights --clear";

pub(super) const LS: &str = "\
Examples:
  datnode ls ./flights
  datnode ls -l -R dat1…/data
  datnode ls --json dat1…+3";

pub(super) const STAT: &str = "\
Examples:
  datnode stat ./flights/README.md
  datnode stat dat1…/data";

pub(super) const DU: &str = "\
Examples:
  datnode du ./flights
  datnode du -s dat1…
  datnode du --depth 3 ./flights";

pub(super) const PUT: &str = "\
Examples:
  datnode put a.csv ./uploads/raw/a.csv
  datnode put a.csv ./uploads/now -m hourly
  datnode put - ./uploads/old --if-version 2";

pub(super) const RM: &str = "\
Examples:
  datnode rm ./uploads/now
  datnode rm -r ./uploads/raw";

pub(super) const MV: &str = "\
Examples:
  datnode mv ./uploads/old ./uploads/new
  datnode mv ./uploads/new ./uploads/done/old";

pub(super) const PEERS: &str = "\
Examples:
  datnode peers ./flights
  datnode peers --all --json";

pub(super) const DOCTOR: &str = "\
Examples:
  datnode doctor
  datnode doctor dat1…
  datnode doctor ./flights --report report.txt";

pub(super) const KEYS: &str = "\
Examples:
  datnode keys
  datnode keys export ./flights
  datnode keys import flights.datkey";

pub(super) const IGNORED: &str = "\
Examples:
  datnode ignored ./flights/README.md
  datnode ignored --gitignore ./flights/data";

pub(super) const CONFIG: &str = "\
Examples:
  datnode config show --origin
  datnode config set network.max-up 2M
  datnode config get network.max-up";

pub(super) const COMPLETIONS: &str = "\
Examples:
  datnode completions bash
  datnode completions fish";

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
  datnode log ./flights --path 'data/*.csv' --reverse
  datnode log ./flights --since 1";

pub(super) const CHANGES: &str = "\
Examples:
  datnode changes ./flights --since 1
  datnode changes dat1… --values -n 100
  datnode changes ./flights --until 2 --path data";

pub(super) const DIFF: &str = "\
Examples:
  datnode diff ./flights+1 3
  datnode diff dat1…+1 dat1… --path 'data/*.csv'
  datnode diff ./flights+1 --text
  datnode diff ./flights+1 latest --json";

pub(super) const TAG: &str = "\
Examples:
  datnode tag v1 ./flights+1
  datnode tag v2 ./flights -m published
  datnode tag --list ./flights
  datnode tag --delete v2 ./flights";

pub(super) const VERIFY: &str = "\
Examples:
  datnode verify ./flights
  datnode verify --quick ./flights
  datnode verify --repair ./flights
  datnode verify --repair --force ./flights";

pub(super) const CLEAR: &str = "\
Examples:
  datnode clear --keep-latest --dry-run ./flights
  datnode clear ./flights --older-than 2 --yes
  datnode clear ./flights 'data/*.csv' --dry-run";

pub(super) const PURGE: &str = "\
Examples:
  datnode purge ./old --yes
  datnode purge ./older --yes --json";

pub(super) const STATUS: &str = "\
Examples:
  datnode status ./flights
  datnode status --all --json";

pub(super) const RECOVER: &str = "\
Examples:
  datnode recover ./flights
  datnode recover ./flights --wait 5m";

pub(super) const VERSION: &str = "\
Examples:
  datnode version
  datnode version --json";

pub(super) const HELP: &str = "\
Examples:
  datnode help clone
  datnode help addresses
  datnode help E-NOPEERS";
