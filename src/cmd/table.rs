//! Tables for people: aligned, without boxes, headers in capitals.
//!
//! Promises: on a terminal no line is wider than it (80 columns where the width is not known); on a pipe nothing is cut.
//! Not a contract: programs ask for `-o json`.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Columns of a terminal that does not say.
const COLUMNS_DEFAULT: u16 = 80;

/// Lays rows out under a header. `columns`: the terminal's width, `None` on a pipe. A header that starts with `>` is of
/// a column of numbers.
pub fn render(columns: Option<u16>, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match columns {
        Some(columns) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table.set_header(header.iter().map(|name| name.trim_start_matches('>')));
    for row in rows {
        assert_eq!(row.len(), header.len(), "a row has a cell for each column");
        table.add_row(row);
    }
    for (at, name) in header.iter().enumerate() {
        let column = table.column_mut(at).expect("there is a column for each name");
        column.set_padding((0, if at + 1 == header.len() { 0 } else { 2 }));
        if name.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Text, each part on a line of its own, broken between words where the terminal ends.
pub fn paragraphs(columns: Option<u16>, parts: &[String]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let arrangement = match columns {
        Some(_) => ContentArrangement::Dynamic,
        None => ContentArrangement::Disabled,
    };
    table.set_content_arrangement(arrangement).set_width(columns.unwrap_or(COLUMNS_DEFAULT));
    for part in parts {
        table.add_row([part]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 0));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Names and what they stand for, one a line.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// The width to lay out for: what `COLUMNS` says if that is sensible.
pub fn terminal_columns() -> u16 {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    said.filter(|columns| (20..=1_000).contains(columns)).unwrap_or(COLUMNS_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let long = "/a/rather/long/key/that/goes/on/and/on/and/does/not/fit/a/line/of/eighty/columns/at/all";
        vec![vec!["1".into(), "n1".into(), "short".into()], vec!["20".into(), "n2".into(), long.into()]]
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let text = render(Some(80), &[">ID", "NODE", "KEY"], rows());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with("ID  NODE  KEY\n 1  n1    short\n"), "{text}");
    }

    #[test]
    fn a_pipe_gets_whole_lines() {
        let text = render(None, &[">ID", "NODE", "KEY"], rows());
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn paragraphs_break_between_words_on_a_terminal_only() {
        let parts = ["one two three four five six".to_owned(), "seven".to_owned()];
        assert_eq!(paragraphs(Some(20), &parts), "one two three four\nfive six\nseven\n");
        assert_eq!(paragraphs(None, &parts), "one two three four five six\nseven\n");
    }

    #[test]
    fn pairs_line_up() {
        assert_eq!(pairs(&[("a", "1".into()), ("bcd", "2".into())]), "a    1\nbcd  2\n");
    }
}
