//! Objects as text: as JSON, YAML, a name, or the table of the API server.

use std::io::{self, Write as _};

use kube::{Resource, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::Format;
use super::connect::Cluster;
use super::terminal::{Terminal, tone_of};
use crate::cli::failure::Failure;

/// The form of a list that the API server formats.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// What separates the columns of a table.
const GAP: usize = 3;

/// The table of the API server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    #[serde(default)]
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
    #[serde(default)]
    priority: i32,
}

#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    cells: Vec<Value>,
    #[serde(default)]
    object: Value,
}

/// Writes a line to standard output.
///
/// # Errors
/// Standard output is closed.
pub fn say(line: impl AsRef<str>) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{}", line.as_ref())?)
}

/// Writes text to standard output.
///
/// # Errors
/// Standard output is closed.
pub fn write(text: &str) -> Result<(), Failure> {
    Ok(write!(io::stdout(), "{text}")?)
}

/// Writes a line to standard error, where it is no part of the data.
pub fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns a name as kubectl prints it: `release.davit.dev/shop-12`.
pub fn full_name<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let kind = K::kind(&()).to_lowercase();
    format!("{kind}.{}/{}", K::group(&()), object.name_any())
}

/// Reports that there was nothing to do: where the output is data, on standard error.
///
/// # Errors
/// Standard output is closed.
pub fn nothing(format: Option<Format>, happened: &str) -> Result<(), Failure> {
    match format {
        None | Some(Format::Wide) => say(happened),
        Some(_) => {
            note(happened);
            Ok(())
        }
    }
}

/// Writes an object in the form that the user asked for; without one, its name and what happened to it.
///
/// # Errors
/// Standard output is closed.
pub fn object<K>(format: Option<Format>, object: &K, happened: &str) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match format {
        None | Some(Format::Wide) => say(format!("{} {happened}", full_name(object))),
        Some(Format::Name) => say(full_name(object)),
        Some(format) => serialized(format, serde_json::to_value(object).unwrap_or_default()),
    }
}

/// Writes an object or a list as JSON or YAML, without managed fields, as kubectl does.
///
/// # Errors
/// Standard output is closed.
pub fn serialized(format: Format, mut value: Value) -> Result<(), Failure> {
    let hide = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    hide(&mut value);
    for item in value
        .get_mut("items")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        hide(item);
    }
    let unwritable =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot write the object: {error}"));
    if format == Format::Yaml {
        let text = serde_saphyr::to_string(&value).map_err(|error| unwritable(&error))?;
        return Ok(write!(io::stdout(), "{text}")?);
    }
    say(serde_json::to_string_pretty(&value).map_err(|error| unwritable(&error))?)
}

/// Writes the objects of a path of the API server: its own table, or the objects.
///
/// # Errors
/// The API server does not answer or refuses, or standard output is closed.
pub async fn list(
    cluster: &Cluster,
    path: &str,
    format: Option<Format>,
    in_all_namespaces: bool,
) -> Result<(), Failure> {
    list_sorted(cluster, path, format, in_all_namespaces, None).await
}

/// Writes the objects of a path as [`list`] does, in the order of these names.
///
/// # Errors
/// The API server does not answer or refuses, or standard output is closed.
pub async fn list_in_order(
    cluster: &Cluster,
    path: &str,
    format: Option<Format>,
    names: &[String],
) -> Result<(), Failure> {
    list_sorted(cluster, path, format, false, Some(names)).await
}

async fn list_sorted(
    cluster: &Cluster,
    path: &str,
    format: Option<Format>,
    in_all_namespaces: bool,
    names: Option<&[String]>,
) -> Result<(), Failure> {
    let place_of = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        names
            .and_then(|names| names.iter().position(|known| known == name))
            .unwrap_or(usize::MAX)
    };
    if let Some(format @ (Format::Json | Format::Yaml)) = format {
        let mut found: Value = cluster.get(path, "application/json").await?;
        // The API server leaves out the kind of the items; kubectl prints it.
        let (kind, version) = (found["kind"].clone(), found["apiVersion"].clone());
        let kind = kind
            .as_str()
            .unwrap_or_default()
            .trim_end_matches("List")
            .to_owned();
        if let Some(items) = found["items"].as_array_mut() {
            items.sort_by_key(place_of);
        }
        for item in found["items"].as_array_mut().into_iter().flatten() {
            item["kind"] = json!(kind);
            item["apiVersion"] = version.clone();
        }
        found["kind"] = json!("List");
        found["apiVersion"] = json!("v1");
        return serialized(format, found);
    }
    let mut table: Table = cluster.get(path, TABLE).await?;
    table.rows.sort_by_key(|row| place_of(&row.object));
    if format == Some(Format::Name) {
        let plural = path
            .split('?')
            .next()
            .and_then(|path| path.rsplit('/').next())
            .unwrap_or_default();
        for row in &table.rows {
            let name = row.object["metadata"]["name"].as_str().unwrap_or_default();
            say(format!(
                "{}.{}/{name}",
                plural.trim_end_matches('s'),
                crate::api::GROUP
            ))?;
        }
        return Ok(());
    }
    if table.rows.is_empty() {
        let place = if in_all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("{} namespace", cluster.namespace)
        };
        // As kubectl: standard output has data only.
        note(&format!("No resources found in {place}."));
        return Ok(());
    }
    let wide = format == Some(Format::Wide);
    let shown = |column: &&Column| wide || column.priority == 0;
    let mut head: Vec<String> = table
        .column_definitions
        .iter()
        .filter(shown)
        .map(|column| column.name.to_uppercase())
        .collect();
    if in_all_namespaces {
        head.insert(0, "NAMESPACE".to_owned());
    }
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| {
            let cells = row.cells.iter().zip(&table.column_definitions);
            let cells = cells.filter(|(_, column)| wide || column.priority == 0);
            let mut cells: Vec<String> = cells.map(|(cell, _)| text_of(cell)).collect();
            if in_all_namespaces {
                cells.insert(0, text_of(&row.object["metadata"]["namespace"]));
            }
            cells
        })
        .collect();
    write!(io::stdout(), "{}", columns(&cluster.terminal, &head, &rows))?;
    Ok(())
}

fn text_of(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns rows below their heads; on a terminal that is too narrow for them, one line for each cell.
pub fn columns(terminal: &Terminal, head: &[String], rows: &[Vec<String>]) -> String {
    let length = |text: &String| text.chars().count();
    let widths: Vec<usize> = (0..head.len())
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(length);
            cells.chain([length(&head[at])]).max().unwrap_or_default()
        })
        .collect();
    let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let mut text = String::new();
    if terminal.width.is_some_and(|width| width < total) {
        let longest = head.iter().map(length).max().unwrap_or_default();
        for (at, row) in rows.iter().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            for (name, cell) in head.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                let cell = terminal.paint(tone_of(cell), cell);
                text.extend([&format!("{name:longest$}"), "  ", &cell, "\n"]);
            }
        }
        return text;
    }
    for (at, row) in std::iter::once(head)
        .chain(rows.iter().map(Vec::as_slice))
        .enumerate()
    {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let tone = if at == 0 { None } else { tone_of(cell) };
            line.push_str(&terminal.paint(tone, cell));
            line.push_str(&" ".repeat(width + GAP - length(cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_terminal_shows_one_line_for_each_cell() {
        let head = ["NAME", "STATUS", "URL"].map(str::to_owned);
        let rows = [
            ["shop", "done", "http://127.0.0.1:8080"]
                .map(str::to_owned)
                .to_vec(),
            ["blog", "idle", ""].map(str::to_owned).to_vec(),
        ];
        let mut terminal = Terminal {
            colored: false,
            width: None,
            progress_width: None,
        };
        assert_eq!(
            columns(&terminal, &head, &rows),
            "NAME   STATUS   URL\nshop   done     http://127.0.0.1:8080\nblog   idle\n"
        );
        terminal.width = Some(30);
        assert_eq!(
            columns(&terminal, &head, &rows),
            "NAME    shop\nSTATUS  done\nURL     http://127.0.0.1:8080\n\nNAME    blog\nSTATUS  idle\n"
        );
    }
}
