//! Sans-IO: values of a policy file against what a key allows.

use serde_json::{Value, json};
use toml::de::DeValue;

use super::Glob;
use crate::policy::keys::{Kind, MAX_LIST};

/// A value as JSON; dates become null, and so do numbers that are none.
pub(super) fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, |n| json!(n))
        }
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or(Value::Null, |n| json!(n)),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value as it was written, shortened.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    let text = match value {
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Datetime(_) | DeValue::Table(_) => kind(value).to_owned(),
        other => json(other).to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

const SHOWN: usize = 40;

/// The value when a key of that kind may have it, else what is wrong.
pub(super) fn checked(of: Kind, value: &DeValue<'_>) -> Result<Value, String> {
    let said = json(value);
    let wrong = || Err(format!("it is {}, {}", kind(value), shown(value)));
    let outside = || Err(format!("{} is out of range", shown(value)));
    match of {
        Kind::Number(least, most) | Kind::Auto(least, most) => match said.as_f64() {
            Some(number) if (least..=most).contains(&number) => Ok(json!(number)),
            None if said == "auto" && matches!(of, Kind::Auto(..)) => Ok(said),
            None if said.is_string() && matches!(of, Kind::Auto(..)) => {
                Err(format!("{} is not known", shown(value)))
            }
            None if !matches!(value, DeValue::Float(_) | DeValue::Integer(_)) => wrong(),
            _ => outside(),
        },
        Kind::Count(least, most) => match (said.as_u64(), value) {
            (Some(count), _) if (least..=most).contains(&count) => Ok(said),
            (_, DeValue::Integer(_)) => outside(),
            (_, DeValue::Float(_)) => Err(format!("{} is not a whole number", shown(value))),
            _ => wrong(),
        },
        Kind::Flag if said.is_boolean() => Ok(said),
        Kind::Flag => wrong(),
        Kind::Word(words) => match said.as_str() {
            Some(word) if words.contains(&word) => Ok(said),
            Some(_) => Err(format!("{} is not known", shown(value))),
            None => wrong(),
        },
        Kind::Edges => entries(value, |text| {
            Glob::parse(text).is_some().then(|| json!(text))
        }),
        Kind::Countries => entries(value, |text| {
            let letters = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
            letters.then(|| json!(text.to_ascii_uppercase()))
        }),
    }
}

/// A list of texts, each once.
fn entries(value: &DeValue<'_>, entry: impl Fn(&str) -> Option<Value>) -> Result<Value, String> {
    let DeValue::Array(items) = value else {
        return Err(format!("it is {}, not a list", kind(value)));
    };
    if items.len() > MAX_LIST {
        return Err(format!(
            "it lists {}, at most {MAX_LIST} may be",
            items.len()
        ));
    }
    let mut list = Vec::new();
    for item in items {
        let item = item.get_ref();
        let text = item.as_str().unwrap_or_default();
        let Some(read) = entry(text) else {
            return Err(format!("{} cannot stand in it", shown(item)));
        };
        if list.contains(&read) {
            return Err(format!("{} stands in it twice", shown(item)));
        }
        list.push(read);
    }
    Ok(Value::Array(list))
}

/// The patterns of a selector's key, one or a list; else what is wrong and what to do.
pub(super) fn patterns(name: &str, value: &DeValue<'_>) -> Result<Vec<Glob>, (String, String)> {
    let like = match name {
        "stream" => "\"live/*\"",
        "region" => "\"DE\" or \"US-*\"",
        "label" => "\"tier=vip\"",
        _ => "\"live\"",
    };
    let remedy = || format!("write {name} = {like}, or a list of such");
    let said = json(value);
    let texts = match &said {
        Value::String(text) => vec![text.as_str()],
        Value::Array(items) if !items.is_empty() && items.len() <= MAX_LIST => {
            let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| ("not all of its entries are text".to_owned(), remedy()))?
        }
        Value::Array(items) => {
            return Err((format!("it lists {}", items.len()), remedy()));
        }
        _ => return Err((format!("it is {}", kind(value)), remedy())),
    };
    let mut globs = Vec::new();
    for text in texts {
        let slash = text.contains('/');
        let shaped = match name {
            "stream" => slash || text == "*",
            "tenant" | "region" => !slash,
            _ => true,
        };
        match Glob::parse(text).filter(|_| shaped) {
            Some(glob) => globs.push(glob),
            None if name == "tenant" && slash => {
                let problem = format!("{text:?} names a stream; a tenant is its app alone");
                return Err((problem, format!("write stream = {text:?}")));
            }
            None => return Err((format!("{text:?} cannot be a {name}"), remedy())),
        }
    }
    Ok(globs)
}
