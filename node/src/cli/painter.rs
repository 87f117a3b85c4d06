//! Lines at the bottom of a terminal that are painted again and again, in place.
//!
//! What was painted is wiped by the width that the terminal has now: one that was made narrower has wrapped the lines meanwhile.
//! Everything else that is written there has to wipe first.

use std::io::Write;

use super::output::{columns, fit, has_room, width};

/// What is painted now.
#[derive(Debug, Default)]
pub struct Painter {
    /// The widths of the lines, in columns.
    painted: Vec<usize>,
}

impl Painter {
    /// Paints lines instead of those that are there.
    pub fn paint(&mut self, lines: &[String]) {
        // A terminal that was stopped (Ctrl-S) shows what is true once it goes on.
        if has_room(std::io::stderr()) {
            self.paint_to(&mut std::io::stderr().lock(), columns(), lines);
        }
    }

    /// Wipes what is there.
    pub fn wipe(&mut self) {
        if !self.painted.is_empty() {
            self.paint(&[]);
        }
    }

    fn paint_to(&mut self, to: &mut impl Write, columns: usize, lines: &[String]) {
        let mut text = String::new();
        let rows: usize = self.painted.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if rows > 1 {
            text.push_str(&format!("\x1b[{}A", rows - 1));
        }
        if rows > 0 {
            text.push_str("\r\x1b[J");
        }
        // A line that reaches the last column could wrap.
        let lines: Vec<&str> =
            lines.iter().map(|line| fit(line, columns.saturating_sub(1))).collect();
        text.push_str(&lines.join("\n"));
        self.painted = lines.iter().map(|line| width(line)).collect();
        // An error means that nobody looks.
        let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that knows what a painter says, and shows its rows.
    fn screen(columns: usize, text: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(text).unwrap();
        let (mut rows, mut row, mut column) = (vec![String::new()], 0, 0);
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['));
                    let code: String =
                        chars.by_ref().take_while(|char| char.is_ascii_digit()).collect();
                    // The letter behind the digits was taken with them.
                    match code.parse::<usize>() {
                        Ok(up) => row -= up,
                        Err(_) => {
                            rows.truncate(row + 1);
                            rows[row].truncate(column);
                        }
                    }
                }
                '\r' => column = 0,
                '\n' => {
                    (row, column) = (row + 1, 0);
                    rows.resize(rows.len().max(row + 1), String::new());
                }
                other => {
                    if column == columns {
                        (row, column) = (row + 1, 0);
                        rows.resize(rows.len().max(row + 1), String::new());
                    }
                    rows[row].truncate(column);
                    rows[row].push(other);
                    column += 1;
                }
            }
        }
        rows
    }

    #[test]
    fn lines_are_painted_in_place() {
        let (mut painter, mut said) = (Painter::default(), Vec::new());
        let lines = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        painter.paint_to(&mut said, 20, &lines("Download|  a file"));
        painter.paint_to(&mut said, 20, &lines("Download 50 %|  b"));
        assert_eq!(screen(20, &said), ["Download 50 %", "  b"]);
        painter.paint_to(&mut said, 20, &lines("a line that is longer than the terminal is wide"));
        assert_eq!(screen(20, &said), ["a line that is long"]);
        painter.paint_to(&mut said, 20, &[]);
        assert_eq!(screen(20, &said), [""]);
        painter.painted.clear();
    }

    #[test]
    fn what_a_narrower_terminal_has_wrapped_is_wiped() {
        let (mut painter, mut said) = (Painter::default(), Vec::new());
        let wide = ["x".repeat(39), "y".repeat(10)].map(|line| line + "z");
        painter.paint_to(&mut said, 60, &wide);
        // The terminal was made 20 columns wide: three rows now, and the cursor is in the last one.
        let mut wrapped = b"".to_vec();
        wrapped.extend(wide.join("\n").as_bytes());
        let before = said.len();
        painter.paint_to(&mut said, 20, &["short".to_owned()]);
        wrapped.extend(&said[before..]);
        assert_eq!(screen(20, &wrapped), ["short"]);
        painter.painted.clear();
    }
}
