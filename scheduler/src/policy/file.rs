//! Sans-IO: the policy file: text to [`Policies`], or to faults that name line, key and remedy.
//!
//! The whole file is looked at, so that one check shows all that is wrong. A table's missing keys
//! come from `[policy.default]`, and what that leaves out from [`Policy::default`].

mod rules;
mod value;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, tables};
use super::{DEFAULT, Named, Policies, Policy, Selector};
use crate::glob::Glob;

/// The only version there is.
pub const VERSION: i64 = 1;

/// Policies in one file: each is tried for each request in turn.
pub const MAX_POLICIES: usize = 256;

/// Largest file: [`MAX_POLICIES`] that set every key, with comments.
pub const MAX_FILE: usize = 512 << 10;

/// Faults that are told of one file: more would hide the first ones.
pub const MAX_FAULTS: usize = 50;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// Where, from 1.
    pub line: usize,
    /// Where in the line, from 1.
    pub column: usize,
    /// Which key: `policy.vip.weights.cost`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, key, problem, ..
        } = self;
        write!(f, "line {line}: {key}: {problem}; {}", self.remedy)
    }
}

/// The policies of a file, or all that is wrong with it, by line.
pub fn parse(text: &str) -> Result<Policies, Vec<Fault>> {
    let mut reader = Reader {
        text,
        faults: Vec::new(),
    };
    if text.len() > MAX_FILE {
        let problem = format!("the file has more than {MAX_FILE} bytes");
        reader.fault(0..0, "version", problem, "split it into fewer policies");
        return Err(reader.faults);
    }
    let policies = match DeTable::parse(text) {
        Ok(root) => Some(reader.root(root.get_ref())),
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            let key = reader.key_of_line(span.start);
            let problem = error.message().replace('\n', ", ");
            reader.fault(span, &key, problem, "write this line as TOML: key = value");
            None
        }
    };
    let mut faults = reader.faults;
    match policies {
        Some(policies) if faults.is_empty() => Ok(policies),
        _ => {
            faults.sort();
            faults.truncate(MAX_FAULTS);
            Err(faults)
        }
    }
}

/// The faults as lines for people, each behind the file's name.
pub fn lines(file: &str, faults: &[Fault]) -> String {
    let line = |fault: &Fault| format!("{file}: {fault}\n");
    faults.iter().map(line).collect()
}

type Entry<'a, 'i> = (Range<usize>, &'a Spanned<DeValue<'i>>);

/// A text that is read, with what is wrong so far.
struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

/// A policy's table half read.
struct Draft {
    name: String,
    selector: Selector,
    priority: i64,
    /// What the table says, in the order of [`KEYS`].
    said: Vec<(&'static Key, Value)>,
    /// Where each of it stands.
    spans: HashMap<&'static str, Range<usize>>,
}

impl Reader<'_> {
    fn fault(
        &mut self,
        at: Range<usize>,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_starts = before.rfind('\n').map_or(0, |at| at + 1);
        self.faults.push(Fault {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_starts..].chars().count(),
            key: key.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// What stands before `=` in that line, or the table it opens: for text that is not TOML.
    fn key_of_line(&self, at: usize) -> String {
        let start = self.text.get(..at).unwrap_or(self.text);
        let start = start.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let key = line.split('=').next().unwrap_or_default().trim();
        let key = key.trim_matches(['[', ']', ' ']);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-\"".contains(c);
        let key: String = key.chars().take_while(|c| plain(*c)).take(80).collect();
        if key.is_empty() { "?".into() } else { key }
    }

    fn root(&mut self, root: &DeTable<'_>) -> Policies {
        let mut drafts = Vec::new();
        let mut versioned = false;
        for (key, value) in root {
            let at = key.span();
            match &**key.get_ref() {
                "version" => {
                    versioned = true;
                    self.version(value);
                }
                "policy" => match value.get_ref() {
                    DeValue::Table(table) => drafts = self.policies(table),
                    other => {
                        let problem = format!("it is {}, not tables", value::kind(other));
                        self.fault(at, "policy", problem, "write [policy.default]");
                    }
                },
                other => {
                    let remedy = match nearest(other, ["version", "policy"].into_iter()) {
                        Some(known) => format!("did you mean `{known}`?"),
                        None => format!("put it into a table [policy.NAME] or remove `{other}`"),
                    };
                    self.fault(at, other, "unknown key", remedy);
                }
            }
        }
        if !versioned {
            let remedy = format!("write version = {VERSION} as the first line");
            self.fault(0..0, "version", "it is missing", remedy);
        }
        self.compile(drafts)
    }

    fn version(&mut self, value: &Spanned<DeValue<'_>>) {
        let remedy = format!("write version = {VERSION}");
        match value::json(value.get_ref()).as_i64() {
            Some(VERSION) => {}
            Some(other) => {
                let problem = format!("version {other} is not known here");
                self.fault(value.span(), "version", problem, remedy);
            }
            None => {
                let problem = format!("it is {}, not a number", value::kind(value.get_ref()));
                self.fault(value.span(), "version", problem, remedy);
            }
        }
    }

    fn policies(&mut self, table: &DeTable<'_>) -> Vec<Draft> {
        if table.len() > MAX_POLICIES {
            let problem = format!("there are {}, at most {MAX_POLICIES} may be", table.len());
            self.fault(
                0..0,
                "policy",
                problem,
                "say more with patterns in selectors",
            );
            return Vec::new();
        }
        let mut drafts = Vec::new();
        for (key, value) in table {
            let (at, name) = (key.span(), &**key.get_ref());
            let path = format!("policy.{name}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
                let remedy = format!("name it with 1 to {MAX_NAME} of A-Z a-z 0-9 _ -");
                self.fault(at.clone(), &path, "this cannot be a policy's name", remedy);
            }
            match value.get_ref() {
                DeValue::Table(table) => drafts.push(self.policy(name, at, table)),
                other => {
                    let inside = Key::find(name).is_some() || tables().contains(&name);
                    let remedy = match inside {
                        true => format!("write it under [policy.default]: {name} = ..."),
                        false => format!("write [policy.{name}] and its keys below"),
                    };
                    let problem = format!("it is {}, not a table", value::kind(other));
                    self.fault(at, &path, problem, remedy);
                }
            }
        }
        drafts
    }

    fn policy(&mut self, name: &str, at: Range<usize>, table: &DeTable<'_>) -> Draft {
        let mut draft = Draft {
            name: name.to_owned(),
            selector: Selector::default(),
            priority: 0,
            said: Vec::new(),
            spans: HashMap::new(),
        };
        let mut selected = false;
        for (key, value) in table {
            let entry = (key.span(), value);
            match &**key.get_ref() {
                "selector" => {
                    selected = true;
                    self.selector(&mut draft, entry);
                }
                "priority" => self.priority(&mut draft, entry),
                group if tables().contains(&group) => self.group(&mut draft, group, entry),
                leaf => self.leaf(&mut draft, (None, leaf), entry),
            }
        }
        if !selected && name != DEFAULT {
            let key = format!("policy.{name}.selector");
            let problem = "it is missing, so the policy would hold for nothing";
            let remedy = "write selector = { stream = \"app/*\" }, or label, region or tenant";
            self.fault(at, &key, problem, remedy);
        }
        draft
    }

    fn group(&mut self, draft: &mut Draft, group: &str, (at, value): Entry<'_, '_>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let name = (Some(group), &**key.get_ref());
                    self.leaf(draft, name, (key.span(), value));
                }
            }
            other => {
                let path = format!("policy.{}.{group}", draft.name);
                let of = |key: &&Key| key.split().0 == Some(group);
                let first = KEYS.iter().find(of).map_or("", |key| key.split().1);
                let problem = format!("it is {}, not a table", value::kind(other));
                let remedy = format!("write {group} = {{ {first} = ... }}");
                self.fault(at, &path, problem, remedy);
            }
        }
    }

    fn leaf(
        &mut self,
        draft: &mut Draft,
        (group, name): (Option<&str>, &str),
        (at, value): Entry<'_, '_>,
    ) {
        let path = group.map_or(name.to_owned(), |group| format!("{group}.{name}"));
        let full = format!("policy.{}.{path}", draft.name);
        let Some(key) = Key::find(&path) else {
            self.fault(at, &full, "unknown key", elsewhere(group, name));
            return;
        };
        draft.spans.insert(key.path, at);
        match value::checked(key.kind, value.get_ref()) {
            Ok(value) => draft.said.push((key, value)),
            Err(problem) => {
                let remedy = format!("write {}", key.kind.words());
                self.fault(value.span(), &full, problem, remedy);
            }
        }
    }

    fn priority(&mut self, draft: &mut Draft, (at, value): Entry<'_, '_>) {
        let key = format!("policy.{}.priority", draft.name);
        if draft.name == DEFAULT {
            let problem = "the default holds only where no other does";
            self.fault(at, &key, problem, "remove it");
            return;
        }
        let number = value::json(value.get_ref()).as_i64();
        match number.filter(|number| number.abs() <= MAX_PRIORITY) {
            Some(number) => {
                draft.priority = number;
                draft.spans.insert("priority", at);
            }
            None => {
                let problem = format!("{} is no priority", value::shown(value.get_ref()));
                let remedy = format!("write a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}");
                self.fault(value.span(), &key, problem, remedy);
            }
        }
    }

    fn selector(&mut self, draft: &mut Draft, (at, value): Entry<'_, '_>) {
        let path = format!("policy.{}.selector", draft.name);
        if draft.name == DEFAULT {
            let problem = "the default holds wherever no other does";
            self.fault(at, &path, problem, "remove it, or give the policy a name");
            return;
        }
        draft.spans.insert("selector", at.clone());
        let DeValue::Table(table) = value.get_ref() else {
            let problem = format!("it is {}, not a table", value::kind(value.get_ref()));
            let remedy = "write selector = { label = \"tier=vip\" }";
            self.fault(at, &path, problem, remedy);
            return;
        };
        if table.is_empty() {
            let problem = "it is empty, so it would hold for everything";
            let remedy = "name a label, stream, region or tenant, or put the keys into \
                          [policy.default]";
            self.fault(at, &path, problem, remedy);
        }
        for (key, value) in table {
            let (at, name) = (key.span(), &**key.get_ref());
            let selector = &mut draft.selector;
            let globs = match name {
                "label" => &mut selector.label,
                "stream" => &mut selector.stream,
                "region" => &mut selector.region,
                "tenant" => &mut selector.tenant,
                other => {
                    let known = nearest(other, SELECTED.into_iter());
                    let known = known.map(|known| format!("did you mean `{known}`?"));
                    let remedy = known.unwrap_or_else(|| format!("use one of {SELECTED:?}"));
                    self.fault(at, &format!("{path}.{other}"), "unknown key", remedy);
                    continue;
                }
            };
            match value::patterns(name, value.get_ref()) {
                Ok(patterns) => *globs = patterns,
                Err((problem, remedy)) => {
                    self.fault(value.span(), &format!("{path}.{name}"), problem, remedy);
                }
            }
        }
    }

    /// Puts the tables over the default, and looks for what contradicts itself.
    fn compile(&mut self, drafts: Vec<Draft>) -> Policies {
        let mut default = Policy::default();
        if let Some(draft) = drafts.iter().find(|draft| draft.name == DEFAULT) {
            put(&mut default, draft);
            self.contradictions(draft, &default);
        }
        let mut named = Vec::new();
        let mut held: HashMap<(String, i64), &str> = HashMap::new();
        for draft in drafts.iter().filter(|draft| draft.name != DEFAULT) {
            let mut policy = default.clone();
            put(&mut policy, draft);
            self.contradictions(draft, &policy);
            let same = (json!(draft.selector).to_string(), draft.priority);
            let twin = held.insert(same, &draft.name);
            if let (Some(twin), Some(at)) = (twin, draft.spans.get("selector")) {
                let key = format!("policy.{}.selector", draft.name);
                let problem = format!("policy.{twin} has the same selector and priority");
                let remedy = "give one of them another priority, or make them one";
                self.fault(at.clone(), &key, problem, remedy);
            }
            named.push(Named {
                name: draft.name.as_str().into(),
                number: 0,
                selector: draft.selector.clone(),
                priority: draft.priority,
                policy: policy.into(),
            });
        }
        Policies::new(named, default)
    }

    fn contradictions(&mut self, draft: &Draft, policy: &Policy) {
        for rule in rules::RULES {
            let own = rule
                .keys
                .iter()
                .find_map(|key| Some((key, draft.spans.get(key)?)));
            let (Some((key, at)), Some((problem, remedy))) = (own, (rule.broken)(policy)) else {
                continue;
            };
            let key = format!("policy.{}.{key}", draft.name);
            self.fault(at.clone(), &key, problem, remedy);
        }
    }
}

fn put(policy: &mut Policy, draft: &Draft) {
    let said = draft.said.iter();
    said.for_each(|(key, value)| (key.write)(policy, value));
}

/// What is nearest to an unknown key: beside it, else in another table.
fn elsewhere(group: Option<&str>, name: &str) -> String {
    let all = || KEYS.iter().map(|key| (key.split(), key.path));
    let exact = all().find(|((_, leaf), _)| *leaf == name);
    if let Some(((Some(table), leaf), _)) = exact {
        return format!("it belongs into a table: {table} = {{ {leaf} = ... }}");
    }
    if let Some(((None, leaf), _)) = exact {
        return format!("it stands by itself, outside of a table: {leaf} = ...");
    }
    let beside = all().filter(|((table, _), _)| *table == group);
    let beside = beside.map(|((_, leaf), _)| leaf);
    let first = ["selector", "priority"].into_iter().chain(tables());
    let first = first.filter(|_| group.is_none());
    if let Some(known) = nearest(name, beside.chain(first)) {
        return format!("did you mean `{known}`?");
    }
    let leaves = all().map(|((_, leaf), _)| leaf);
    let path = nearest(name, leaves).and_then(|leaf| all().find(|((_, l), _)| *l == leaf));
    match path {
        Some((_, path)) => format!("did you mean `{path}`?"),
        None => format!("remove `{name}`; `weir policy schema` lists all keys"),
    }
}

/// The name most like it, when one is.
fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(name, unknown);
    let like = known.map(|name| (likeness(name), name));
    let best = like.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(_, name)| name)
}

/// Below this two words share some letters, no more.
const ALIKE: f64 = 0.75;

const MAX_NAME: usize = 32;

/// Room above and below anything that people count by hand.
const MAX_PRIORITY: i64 = 1_000;

const SELECTED: [&str; 4] = ["label", "stream", "region", "tenant"];

/// A file to start from: every key with its default and what it means.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The JSON schema (2020-12) of the file, after TOML became JSON.
pub fn schema() -> Value {
    let patterns = json!({ "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
    ] });
    let selected = |name: &str| (name.to_owned(), patterns.clone());
    let selector = object(
        "Which viewers and streams it holds for: all that is given must fit.",
        SELECTED.into_iter().map(selected).collect(),
    );
    let mut properties = serde_json::Map::new();
    let defaults = Policy::default();
    for key in KEYS {
        let mut schema = key.kind.schema();
        schema["description"] = json!(key.meaning);
        schema["default"] = (key.read)(&defaults);
        match key.split() {
            (Some(table), name) => {
                let table = properties
                    .entry(table)
                    .or_insert_with(|| object("", Default::default()));
                table["properties"][name] = schema;
            }
            (None, name) => {
                properties.insert(name.into(), schema);
            }
        }
    }
    let default = object("What holds where no other policy does.", properties.clone());
    properties.insert("selector".into(), selector);
    let priority = json!({
        "type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY, "default": 0,
        "description": "Of several policies that fit, the one of the highest priority holds.",
    });
    properties.insert("priority".into(), priority);
    let mut named = object(
        "A policy; what it leaves out comes from the default.",
        properties,
    );
    named["required"] = json!(["selector"]);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Weir policies",
        "type": "object",
        "required": ["version"],
        "additionalProperties": false,
        "properties": {
            "version": { "const": VERSION, "description": "The version of this format." },
            "policy": {
                "type": "object",
                "properties": { DEFAULT: default },
                "additionalProperties": named,
            },
        },
    })
}

fn object(description: &str, properties: serde_json::Map<String, Value>) -> Value {
    let mut object = json!({
        "type": "object", "additionalProperties": false, "properties": properties,
    });
    if !description.is_empty() {
        object["description"] = json!(description);
    }
    object
}

#[cfg(test)]
mod tests;
