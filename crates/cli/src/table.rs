//! Rows of text in columns.

use std::io::{self, Write};

/// Rows under the names of their columns. A column whose name begins with `>` is set to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    to_the_right: Vec<bool>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        let name = |column: &&str| column.trim_start_matches('>').to_owned();
        Self {
            rows: vec![columns.iter().map(name).collect()],
            to_the_right: columns.iter().map(|name| name.starts_with('>')).collect(),
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.to_the_right.len(), "a cell for each column");
        let cells = cells.into_iter();
        self.rows.push(cells.map(|cell| plain(&cell)).collect());
    }

    /// Writes the rows; nothing if there are none.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.len() == 1 {
            return Ok(());
        }
        let width_of = |column: usize| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.to_the_right.len()).map(width_of).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), to_the_right) in row.iter().zip(&widths).zip(&self.to_the_right) {
                line.push_str(&match to_the_right {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:<width$}  "),
                });
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Names come from files: what would steer the terminal is shown instead.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|char| match char.is_control() {
            true => char.escape_default().to_string(),
            false => char.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", ">ROWS"]);
        table.row(["größer".to_owned(), "7".to_owned()]);
        table.row(["\x1b[31mred".to_owned(), "1000".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "NAME           ROWS\ngrößer            7\n\\u{1b}[31mred  1000\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_rows_are_no_table() {
        let mut out = Vec::new();
        Table::new(&["NAME"]).write(&mut out).unwrap();
        assert!(out.is_empty());
    }
}
