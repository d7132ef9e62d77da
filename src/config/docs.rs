//! The configuration page, made from the types: each key with its type, its default and what it means.

use super::Config;
use serde_json::{Map, Value};
use std::fmt::Write;

/// A file to start from: what one usually sets.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The whole configuration as JSON, defaults filled in; secrets hide themselves.
pub fn filled(config: &Config) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(config)?)
}

/// `docs/configuration.md`.
pub fn page() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let mut out = String::from(HEAD);
    let _ = write!(out, "\n```toml\n{EXAMPLE}```\n");
    let sections = schema["properties"]
        .as_object()
        .expect("Config is a struct");
    for (name, section) in sections {
        let body = resolve(&schema, section);
        let listed = body["items"].is_object();
        let head = if listed {
            format!("[[{name}]]")
        } else {
            format!("[{name}]")
        };
        let _ = write!(out, "\n## `{head}`\n\n{}\n", text(section));
        let body = item_struct(&schema, section).unwrap_or(body);
        table(&mut out, &schema, name, body);
    }
    out
}

/// One table for this section, then one for each struct nested in it.
fn table(out: &mut String, schema: &Value, path: &str, body: &Value) {
    out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    let empty = Map::new();
    let keys = body["properties"].as_object().unwrap_or(&empty);
    let mut nested = Vec::new();
    for (key, field) in keys {
        let target = resolve(schema, field);
        let default = match &field["default"] {
            Value::Null => "".into(),
            Value::Object(_) => "see below".into(),
            value => format!("`{value}`"),
        };
        let kind = kind(schema, field);
        let _ = writeln!(
            out,
            "| `{key}` | {kind} | {default} | {} |",
            cell(&meaning(field, target))
        );
        if let Some(item) = item_struct(schema, field) {
            nested.push((format!("{path}.{key}"), item));
        }
    }
    for (path, body) in nested {
        let _ = write!(out, "\n### `[{path}]`\n");
        table(out, schema, &path, body);
    }
}

/// The struct behind a field: itself, behind an option, or as a list's item.
fn item_struct<'a>(schema: &'a Value, field: &'a Value) -> Option<&'a Value> {
    let target = resolve(schema, field);
    let item = if target["items"].is_object() {
        resolve(schema, &target["items"])
    } else {
        target
    };
    item["properties"].is_object().then_some(item)
}

/// Follows a reference, also through the `anyOf` that an optional struct becomes.
fn resolve<'a>(schema: &'a Value, field: &'a Value) -> &'a Value {
    let options = field["anyOf"].as_array().into_iter().flatten();
    let reference = std::iter::once(field)
        .chain(options)
        .find_map(|f| f["$ref"].as_str());
    match reference.and_then(|r| r.strip_prefix('#')) {
        Some(pointer) => schema
            .pointer(pointer)
            .expect("a schema's references lead somewhere"),
        None => field,
    }
}

fn kind(schema: &Value, field: &Value) -> String {
    let target = resolve(schema, field);
    if let Some(choices) = choices(target) {
        return choices.join(" or ");
    }
    match &target["type"] {
        Value::String(name) if name == "array" => {
            format!("list of {}", kind(schema, &target["items"]))
        }
        Value::String(name) => plain(name),
        Value::Array(names) => {
            let names: Vec<_> = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|n| *n != "null")
                .collect();
            names
                .iter()
                .map(|name| plain(name))
                .collect::<Vec<_>>()
                .join(" or ")
        }
        _ => "table".into(),
    }
}

fn plain(name: &str) -> String {
    match name {
        "string" => "text",
        "integer" | "number" => "number",
        "boolean" => "true or false",
        "object" => "table",
        "array" => "list",
        other => other,
    }
    .into()
}

/// The words of an enumeration, however the schema spells it.
fn choices(target: &Value) -> Option<Vec<String>> {
    let words = |values: &Value| {
        let list = values.as_array()?;
        list.iter()
            .map(|v| Some(format!("`\"{}\"`", v.as_str()?)))
            .collect::<Option<Vec<_>>>()
    };
    if let Some(list) = words(&target["enum"]) {
        return Some(list);
    }
    let one_of = target["oneOf"].as_array()?;
    one_of
        .iter()
        .map(|v| Some(format!("`\"{}\"`", v["const"].as_str()?)))
        .collect()
}

fn meaning(field: &Value, target: &Value) -> String {
    let own = text(field);
    if own.is_empty() { text(target) } else { own }
}

fn text(field: &Value) -> String {
    field["description"]
        .as_str()
        .unwrap_or_default()
        .to_string()
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

const HEAD: &str = include_str!("head.md");
