//! Names that mean harm: some may travel and must never land, the others land as they are, whatever they look like.
//!
//! Which is which follows from how a name is made here, not from the code that decides it.

use std::collections::BTreeSet;

/// What is to become of a name on a disk that takes any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It lands.
    Lands,
    /// It is left out.
    Refused,
}

/// Returns every name with its fate: more than 400, no two alike.
pub fn all() -> BTreeSet<(Vec<u8>, Fate)> {
    let mut all = BTreeSet::new();
    for name in lands() {
        all.insert((name, Fate::Lands));
    }
    for name in refused() {
        // Wherever it stands, and whether it is a folder's or a file's.
        all.insert(([b"in/", &name[..]].concat(), Fate::Refused));
        all.insert(([&name[..], b"/in"].concat(), Fate::Refused));
        all.insert((name, Fate::Refused));
    }
    all.insert((vec![b'n'; 256], Fate::Refused));
    all.insert((["é".repeat(128).as_bytes(), b"/in"].concat(), Fate::Refused));
    all.insert((nested("d129", 129), Fate::Refused));
    all.insert((nested("ff", 1_300), Fate::Refused));
    all
}

/// Returns a path of so many components.
fn nested(component: &str, depth: usize) -> Vec<u8> {
    vec![component; depth].join("/").into_bytes()
}

/// Names of nothing that is ours.
fn refused() -> Vec<Vec<u8>> {
    let ignored =
        ["\u{200c}", "\u{ad}", "\u{feff}", "\u{202e}", "\u{2060}", "\u{fe0f}", "\u{e0001}"];
    let mut names: Vec<String> =
        [".", "..", "\u{200d}", ".\u{200b}", "\u{2060}..", ".\u{feff}.", "\u{3164}"]
            .map(Into::into)
            .into();
    for stem in [".dat", ".DAT", ".dAt", "dat~1", "DAT~23"] {
        for end in ["", ".", " ", "...", ". .", "::$DATA", ":x"] {
            names.push(format!("{stem}{end}"));
        }
        for ignored in ignored {
            names.push(format!("{ignored}{stem}"));
            names.push(format!("{}{ignored}{}", &stem[..2], &stem[2..]));
        }
    }
    for stem in
        [".datpart-", ".DATPART-0123456789abcdef", ".dat\u{200c}part-x", ".datpart-\u{1b}[2J"]
    {
        names.push(stem.to_owned());
    }
    names.into_iter().map(String::into_bytes).collect()
}

/// Names that are nobody's business.
fn lands() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = TEXTS.iter().map(|name| name.as_bytes().to_vec()).collect();
    names.extend(BYTES.iter().map(|name| name.to_vec()));
    // Every byte but a slash, alone: a name of one control character, of half a character, of nothing that is UTF-8.
    names.extend((1..=255).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![byte]));
    // Controls of the second kind, as UTF-8.
    names.extend(('\u{80}'..='\u{9f}').map(|char| format!("c1{char}31m").into_bytes()));
    for device in ["CON", "prn", "Aux", "NUL", "COM1", "lpt9", "COM¹", "CONIN$", "CLOCK$"] {
        names.extend(["", ".txt", ":", " "].map(|end| format!("{device}{end}").into_bytes()));
    }
    names.extend(BIDI.iter().map(|char| format!("photo{char}gpj.exe").into_bytes()));
    // The longest there are: a component, a path, and the deepest.
    names.push(vec![b'l'; 255]);
    names.push("é".repeat(127).into_bytes());
    names.push(nested("d128", 128));
    for len in [4_096, 4_095, 4_080] {
        let first = format!("long{len}/").into_bytes();
        let mut path = [&first[..], &vec![b'x'; len - first.len()]].concat();
        // With a last name that is shorter than any temporary one beside it, too.
        (201..len - 20).step_by(201).for_each(|slash| path[slash] = b'/');
        names.push(path.clone());
        path[len - 2] = b'/';
        names.push(path);
    }
    names
}

/// Characters that turn text around.
const BIDI: [char; 12] = [
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

/// Names that are text.
const TEXTS: &[&str] = &[
    // What looks like a way out, and is none.
    "...",
    "....",
    "..a",
    "a..",
    ".. .",
    ". .",
    "..\\..\\up",
    "\\",
    "\\\\server\\share",
    "C:",
    "C:\\x",
    "a\\..\\..\\b",
    "%2e%2e",
    "%2e%2e%2fup",
    "..%2f",
    "%00",
    "&#46;&#46;",
    "．．",
    "‥",
    "․․",
    "file:",
    "file:／／／etc",
    "∕etc∕passwd",
    "／etc",
    "a:b",
    "a::$DATA",
    "~",
    "~root",
    "~1",
    "$HOME",
    "${HOME}",
    // What a shell would do something with.
    "-rf",
    "--help",
    "--",
    "-",
    "`id`",
    "$(id)",
    "a;id",
    "a|b",
    "a&b",
    "a>b",
    "a<b",
    "a'b",
    "a\"b",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "!",
    "#",
    "a b",
    " a",
    "a ",
    "  ",
    "=x",
    "a=b",
    "%s%n",
    "{}",
    "{0}",
    "\\x1b[2J",
    "\\n",
    // What a terminal would do something with.
    "\u{1b}[2J",
    "\u{1b}[31mred\u{1b}[0m",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]8;;http:x\u{1b}\\link",
    "\u{1b}]52;c;ZXZpbA==\u{7}",
    "\u{1b}P1$r\u{1b}\\",
    "\u{1b}c",
    "\u{1b}[6n",
    "\u{9b}2J",
    "\u{9d}0;t\u{9c}",
    "new\nline",
    "car\rriage",
    "tab\tbed",
    "bell\u{7}",
    "back\u{8}\u{8}\u{8}space",
    "del\u{7f}",
    "form\u{c}feed",
    "fake\n✓ Cloned 1",
    "fake\nerror[E-IO]: no",
    "line\u{2028}end",
    "par\u{2029}end",
    "next\u{85}line",
    "zero\u{200b}width",
    "joined\u{200d}x",
    "soft\u{ad}hyphen",
    "bom\u{feff}x",
    "tag\u{e0041}x",
    "vs\u{fe0f}",
    "blank\u{2800}",
    "object\u{fffc}",
    "interlinear\u{fff9}x",
    "\u{fffd}",
    "zalgo\u{300}\u{301}\u{302}",
    // What JSON and other tongues would trip over.
    "{\"path\":\"x\"}",
    "\",\"type\":\"error",
    "a\"",
    "\\\"",
    "\\u0000",
    "null",
    "true",
    "<script>",
    "<!--",
    "a,b",
    "'; DROP TABLE names;--",
    "\u{1f600}",
    "\u{10ffff}",
    "\u{e000}",
    "\u{ffff}",
    "e\u{301}",
    "\u{e9}",
    "\u{212b}",
    "\u{c5}",
    "A\u{30a}",
    // What means something here, or to others.
    ".data",
    ".dat1",
    ".dat-x",
    "dat",
    "dat~",
    "dat~x",
    "x.dat",
    ".datpart",
    "datpart-1",
    ".datignore",
    ".dаt",
    ".git",
    ".GIT",
    "git~1",
    ".gitmodules",
    ".ssh",
    ".bashrc",
    "Thumbs.db",
    "desktop.ini",
    ".DS_Store",
    "._x",
    "dat1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq",
    "datticketaaaa",
    "dat:",
    "+1",
    "a+1",
    "latest",
    "store",
    "key",
    "landed",
    "aside",
    "meta",
    "lock",
    "LOCK",
    "core",
    "proc",
    "dev",
    "etc",
    // What only some file systems take for one and the same.
    "README",
    "readme",
    "ReadMe",
    "straße",
    "strasse",
    "ﬁle",
    "file",
    "K",
    "k",
    "\u{212a}",
    "İ",
    "i",
    "ı",
    "I",
    "ſ",
    "s",
    "S",
    "dotted.",
    "dotted",
    "spaced ",
    "spaced",
    "ΑΣ",
    "ας",
    "ασ",
    "e",
    "E",
    "Makefile",
    "makefile",
    "longer name.txt",
    "LONGER~1.TXT",
    "half width ｱ",
    "half width ア",
    "①",
    "1",
    "²",
    "2",
];

/// Names that are not.
const BYTES: &[&[u8]] = &[
    b"not\xff\xfeutf8",
    b"latin\xe9",
    b"half\xe2\x82",
    b"\xc0\xae\xc0\xae",
    b"\xc0\xaf",
    b"\xe0\x80\xae",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80x",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe\xff",
    b".dat\xff",
    b".\xffdat",
    b"\xff.dat",
    b"mixed\xff\x1b[2J\xff",
    b"\x80\x81\x82",
    b"deep/\x1b[31m/\xff/\n/file",
    b"deep/ /  /file",
    b"deep/-/--/-rf",
    b"deep/con/aux/nul",
    b"deep/a\\/..b/...",
];
