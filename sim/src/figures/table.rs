//! Tables as text: columns as wide as they have to be, numbers at the right.

use std::fmt::{self, Display, Formatter};

/// Rows of cells under a head.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with these columns.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.head.len(), "a row has all columns");
        self.rows.push(cells);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().chain([&self.head]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for row in [&self.head].into_iter().chain(&self.rows) {
            let mut line = format!("  {:<1$}", row[0], self.width(0));
            for (column, cell) in row.iter().enumerate().skip(1) {
                line += &format!("  {:>1$}", cell, self.width(column));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["what", "n"]);
        table.row(vec![String::from("a"), String::from("1,000")]);
        assert_eq!(table.to_string(), "  what      n\n  a     1,000\n");
    }
}
