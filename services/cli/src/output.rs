//! Replies as a table for people, as JSON or bare values for scripts.

use std::io::Write as _;

use clap::{Args, ValueEnum};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use model::ByteCount;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Error;

/// How to show what came.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// How to show the result.
    #[arg(short = 'f', long, global = true, default_value = "table")]
    format: Format,
    /// Show only this column; may be repeated. Names as in -f json.
    #[arg(short = 'c', long = "column", global = true, value_name = "COLUMN")]
    columns: Vec<String>,
}

/// The forms of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people; sizes with units.
    Table,
    /// All columns, as in the API.
    Json,
    /// One line per row, values divided by blanks.
    Value,
}

impl Output {
    /// Prints rows; a table shows `defaults` unless columns were asked for.
    pub(crate) fn list<T: Serialize>(&self, rows: &[T], defaults: &[&str]) -> Result<(), Error> {
        let rows: Vec<Map<String, Value>> = rows.iter().map(to_object).collect();
        if let Some(first) = rows.first() {
            self.check_columns(first)?;
        }
        let text = match self.format {
            Format::Json => pretty(&rows.iter().map(|row| self.pick(row)).collect::<Vec<_>>()),
            Format::Value => self.lines(&rows, defaults),
            Format::Table => {
                let columns = self.columns_or(defaults);
                let mut table = make_table();
                table.set_header(&columns);
                for row in &rows {
                    table.add_row(columns.iter().map(|column| show(column, cell(row, column))));
                }
                format!("{table}\n")
            }
        };
        print(&text)
    }

    /// Prints one object, a line per field.
    pub(crate) fn show<T: Serialize>(&self, object: &T, defaults: &[&str]) -> Result<(), Error> {
        let row = to_object(object);
        self.check_columns(&row)?;
        let text = match self.format {
            Format::Json => pretty(&self.pick(&row)),
            Format::Value => {
                let columns = self.columns_or(defaults);
                columns.iter().map(|column| bare(cell(&row, column)) + "\n").collect()
            }
            Format::Table => {
                let mut table = make_table();
                table.set_header(["field", "value"]);
                for column in self.columns_or(defaults) {
                    table.add_row([column.clone(), show(&column, cell(&row, &column))]);
                }
                format!("{table}\n")
            }
        };
        print(&text)
    }

    /// Whether a person looks at it, so that more tables may follow.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table && self.columns.is_empty()
    }

    /// Whether a program reads all of it.
    pub(crate) fn is_whole_json(&self) -> bool {
        self.format == Format::Json && self.columns.is_empty()
    }

    fn lines(&self, rows: &[Map<String, Value>], defaults: &[&str]) -> String {
        let columns = self.columns_or(defaults);
        rows.iter()
            .map(|row| {
                columns.iter().map(|column| bare(cell(row, column))).collect::<Vec<_>>().join(" ") + "\n"
            })
            .collect()
    }

    fn columns_or(&self, defaults: &[&str]) -> Vec<String> {
        if self.columns.is_empty() {
            defaults.iter().map(|&column| column.to_owned()).collect()
        } else {
            self.columns.iter().map(|column| column.to_ascii_lowercase()).collect()
        }
    }

    fn pick(&self, row: &Map<String, Value>) -> Map<String, Value> {
        if self.columns.is_empty() {
            return row.clone();
        }
        self.columns_or(&[]).into_iter().map(|column| (column.clone(), cell(row, &column).clone())).collect()
    }

    fn check_columns(&self, row: &Map<String, Value>) -> Result<(), Error> {
        match self.columns_or(&[]).into_iter().find(|column| !row.contains_key(column)) {
            None => Ok(()),
            Some(column) => {
                let known: Vec<&str> = row.keys().map(String::as_str).collect();
                Err(Error::usage(format!("there is no column {column:?}; there are: {}", known.join(", "))))
            }
        }
    }
}

/// Prints text to stdout; a reader that went away is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::local(format!("failed to write the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Tells a person something beside the result, on stderr.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn make_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn to_object<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn cell<'a>(row: &'a Map<String, Value>, column: &str) -> &'a Value {
    row.get(column).unwrap_or(&Value::Null)
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("maps with text keys serialise") + "\n"
}

fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => clean(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A value in a table: sizes with units, control characters taken out, for names come from tenants.
fn show(column: &str, value: &Value) -> String {
    let is_size = column.starts_with("bytes_")
        || matches!(column, "size" | "uploaded_size" | "restore_size" | "capacity" | "available");
    match (value, value.as_u64()) {
        (_, Some(bytes)) if is_size => ByteCount(bytes).to_string(),
        (Value::Array(items), _) => items.iter().map(bare).collect::<Vec<_>>().join("\n"),
        _ => bare(value),
    }
}

/// Takes out what a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_named_cannot_drive_the_terminal() {
        assert_eq!(show("name", &Value::from("a\x1b[2Jb")), "a\u{fffd}[2Jb");
        assert_eq!(bare(&Value::from("a\rb")), "a\u{fffd}b");
    }

    #[test]
    fn sizes_have_units_in_tables_only() {
        assert_eq!(show("bytes_done", &Value::from(1536)), "1.50 KiB");
        assert_eq!(bare(&Value::from(1536)), "1536");
        assert_eq!(show("time_taken", &Value::from(1536)), "1536");
    }

    #[test]
    fn a_column_that_is_not_there_is_refused_with_those_that_are() {
        let output = Output { format: Format::Value, columns: vec!["nmae".to_owned()] };
        let error = output.show(&serde_json::json!({"id": 1, "name": 2}), &[]).unwrap_err().to_string();
        assert!(error.contains("id, name"), "{error}");
    }
}
