//! What a machine can check of ARCHITECTURE.md and CONTRIBUTING.md: a rule we care about is a test.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The crate graph of ARCHITECTURE.md; a new edge needs a decision record.
const GRAPH: &[(&str, &[&str])] = &[
    ("media", &[]),
    ("transport", &[]),
    ("relay", &["media"]),
    ("cluster", &["transport"]),
    ("origin", &["cluster", "media", "relay", "transport"]),
    ("edge", &["cluster", "media", "relay", "transport"]),
    ("models", &[]),
    ("scheduler", &["cluster", "models", "transport"]),
    ("simulations", &["cluster", "models", "scheduler"]),
];

/// Dependencies that only these crates know.
const FENCED: &[(&str, &[&str])] = &[
    ("quinn", &["transport", "relay"]),
    ("quinn-proto", &["relay"]),
    ("axum", &["transport"]),
    ("hyper", &["transport"]),
    ("rustls", &["transport"]),
    ("maxminddb", &["scheduler"]),
    ("md-5", &["scheduler"]),
    ("hickory-proto", &["scheduler"]),
    ("mp4-atom", &["media"]),
    ("redb", &["cluster", "scheduler"]),
    ("linfa", &["models"]),
    ("linfa-elasticnet", &["models"]),
    ("linfa-linalg", &["models"]),
    ("ndarray", &["models"]),
];

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_COLUMNS: usize = 100;
/// Files allowed past `MAX_FILE_LINES`; this list may only shrink.
const LONG_FILES: &[&str] = &[];
/// Functions allowed past `MAX_FUNCTION_LINES`; this list may only shrink.
const LONG_FUNCTIONS: &[&str] = &[];
/// Crates of which others still bring in an older version; this list may only shrink.
const SECOND_VERSIONS: &[&str] = &[
    "base64",    // jsonwebtoken, in tests only
    "rand",      // linfa
    "strsim",    // clarabel, in benchmarks only
    "thiserror", // mp4-atom, linfa
];

/// The files that a frame passes, as ARCHITECTURE.md lists them.
const FRAME_ROAD: &[&str] = &[
    "media/src/frame.rs",
    "media/src/flv.rs",
    "origin/src/ingest/rtmp.rs",
    "origin/src/ingest/rtmp/session.rs",
    "origin/src/ingest/rtmp/chunk.rs",
    "origin/src/publish.rs",
    "relay/src/group.rs",
    "relay/src/track.rs",
    "relay/src/wire.rs",
    "relay/src/driver.rs",
    "edge/src/upstream.rs",
    "edge/src/playback/scribe.rs",
    "edge/src/playback/flv.rs",
    "edge/src/playback/flv/writer.rs",
    "edge/src/playback/flv/log.rs",
    "edge/src/playback/flv/cursor.rs",
    "edge/src/playback/flv/row.rs",
    "edge/src/playback/tags.rs",
];

/// What a sans-IO core may not name.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "tokio::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::thread",
    "async fn",
    ".await",
    // The thread's own generator; seeded ones are in `rand::rngs`.
    "rand::rng()",
    "rand::random",
    "OsRng",
];

const NO_NAMES: &[&str] = &[
    "utils", "common", "types", "manager", "helper", "helpers", "mod",
];

#[test]
fn crates_depend_only_along_the_graph() {
    let members: Vec<_> = GRAPH.iter().map(|(name, _)| *name).collect();
    let listed = manifest("")["workspace"]["members"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        listed.len(),
        members.len(),
        "GRAPH and the workspace's members differ"
    );
    let mut faults = Vec::new();
    for (name, allowed) in GRAPH {
        for dependency in dependencies(name) {
            if members.contains(&dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                faults.push(format!("{name} may not depend on {dependency}"));
            }
        }
    }
    report("the crate graph is that of ARCHITECTURE.md", faults);
}

#[test]
fn fenced_dependencies_stay_behind_their_crate() {
    let mut faults = Vec::new();
    for (dependency, owners) in FENCED {
        for (name, _) in GRAPH {
            if !owners.contains(name) && dependencies(name).iter().any(|d| d == dependency) {
                faults.push(format!(
                    "{name} may not know {dependency}: only {owners:?} may"
                ));
            }
        }
    }
    report("some dependencies are known to few crates", faults);
}

#[test]
fn every_file_says_what_it_owns() {
    let faults = sources(".rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| format!("{path}: starts without a //! head"))
        .collect();
    report("every file has a head", faults);
}

#[test]
fn files_of_the_frame_road_say_that_they_are_hot() {
    let mut faults = Vec::new();
    for path in FRAME_ROAD {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        let head: Vec<_> = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        if !head.join("\n").contains("Hot:") {
            faults.push(format!("{path}: missing, or its head does not say Hot:"));
        }
    }
    report("a file on the frame road says so", faults);
}

#[test]
fn cores_do_no_input_or_output() {
    let mut faults = Vec::new();
    let mut cores = 0;
    for (path, text) in sources(".rs") {
        if !text.starts_with("//! Sans-IO:") {
            continue;
        }
        cores += 1;
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in IMPURE.iter().filter(|word| code.contains(**word)) {
                faults.push(format!("{path}:{}: a core may not use {word}", number + 1));
            }
        }
    }
    assert!(cores >= 8, "only {cores} sans-IO cores found");
    report(
        "a core opens nothing, reads no clock, awaits nothing",
        faults,
    );
}

#[test]
fn files_functions_and_lines_stay_short() {
    let mut faults = Vec::new();
    for (path, text) in sources(".rs") {
        let body = product(&text);
        let lines = body.lines().count();
        if lines > MAX_FILE_LINES && !is_test(&path) && !LONG_FILES.contains(&path.as_str()) {
            faults.push(format!("{path}: {lines} lines, at most {MAX_FILE_LINES}"));
        }
        for (number, line) in text.lines().enumerate() {
            // Prose stands one sentence to a line, and a text literal cannot always be broken.
            let prose = line.trim_start().starts_with("//") || line.contains('"');
            if line.chars().count() > MAX_COLUMNS && !prose {
                faults.push(format!("{path}:{}: over {MAX_COLUMNS} columns", number + 1));
            }
        }
        for (name, length) in functions(body) {
            let id = format!("{path}:{name}");
            if length > MAX_FUNCTION_LINES && !LONG_FUNCTIONS.contains(&id.as_str()) {
                faults.push(format!(
                    "{id}: {length} lines, at most {MAX_FUNCTION_LINES}"
                ));
            }
        }
    }
    report("files, functions and lines stay short", faults);
}

#[test]
fn names_say_something() {
    let mut faults = Vec::new();
    for (path, text) in sources(".rs") {
        let stem = Path::new(&path)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if NO_NAMES.contains(&stem.as_str()) {
            faults.push(format!("{path}: a file's name says what it owns"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("pub fn get_") {
                faults.push(format!("{path}:{}: no get_ prefix", number + 1));
            }
        }
    }
    report("names are the field's own", faults);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!("];
    let unbounded = ["unbounded_channel", "mpsc::channel()"];
    let mut faults = Vec::new();
    for (path, text) in sources(".rs")
        .into_iter()
        .filter(|(path, _)| path != "tests/tidy.rs")
    {
        for (number, line) in text.lines().enumerate() {
            for mark in marks
                .iter()
                .chain(&unbounded)
                .filter(|mark| line.contains(**mark))
            {
                faults.push(format!("{path}:{}: {mark}", number + 1));
            }
        }
    }
    report("no marks for later and no unbounded channels", faults);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in sources(".md") {
        let folder = root().join(&path).parent().unwrap().to_path_buf();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap();
            let outside = file.contains("://") || file.starts_with("mailto:");
            if !file.is_empty() && !outside && !folder.join(file).exists() {
                faults.push(format!("{path}: {target}"));
            }
        }
    }
    report("links lead somewhere", faults);
}

#[test]
fn the_architecture_names_every_crate_and_only_files_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut faults = Vec::new();
    for (name, _) in GRAPH {
        if !text.contains(&format!("`{name}/`")) {
            faults.push(format!("crate {name} is not named"));
        }
    }
    for word in text.split(|c: char| c.is_whitespace() || "`()|".contains(c)) {
        let path = word.trim_end_matches([',', '.', ':', ';']);
        if path.ends_with(".rs") && path.contains('/') && !root().join(path).exists() {
            faults.push(format!("{path} does not exist"));
        }
    }
    report("ARCHITECTURE.md is true", faults);
}

#[test]
fn the_configuration_page_is_generated_from_the_types() {
    let run = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["config", "docs"])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap_or_default();
    let made = String::from_utf8(run.stdout).unwrap();
    assert!(
        page == made,
        "docs/configuration.md is stale: run `make docs`"
    );
}

#[test]
fn one_version_of_each_crate_we_name() {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock"))
        .unwrap()
        .parse()
        .unwrap();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let field = |name: &str| package[name].as_str().unwrap().to_string();
        versions
            .entry(field("name"))
            .or_default()
            .push(field("version"));
    }
    let named = manifest("")["workspace"]["dependencies"]
        .as_table()
        .unwrap()
        .clone();
    let faults = named
        .keys()
        .filter(|name| !SECOND_VERSIONS.contains(&name.as_str()))
        .filter_map(|name| {
            versions
                .get(name)
                .filter(|v| v.len() > 1)
                .map(|v| (name, v))
        })
        .map(|(name, versions)| format!("{name}: {}", versions.join(", ")))
        .collect();
    report("one version of each crate", faults);
}

fn report(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}\n  {}", faults.join("\n  "));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(name: &str) -> toml::Table {
    fs::read_to_string(root().join(name).join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

fn dependencies(name: &str) -> Vec<String> {
    manifest(name)["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

/// All files of the repository with this ending: (path from the root, text).
fn sources(ending: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files(root(), ending, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, fs::read_to_string(&path).unwrap())
    };
    let all: Vec<_> = paths.into_iter().map(read).collect();
    assert!(!all.is_empty(), "no {ending} files found");
    all
}

fn files(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        let skip = ["target", "node_modules", "dist", "var"].contains(&name.as_str());
        if path.is_dir() && !skip && !name.starts_with('.') {
            files(&path, ending, out);
        } else if name.ends_with(ending) {
            out.push(path);
        }
    }
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The text before the file's own tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap()
}

/// Names and lengths of functions, by rustfmt's indentation: a body ends at a brace as deep as its `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if let Some((name, start, depth)) = &open {
            if indent == *depth && line.trim_start().starts_with('}') {
                found.push((name.clone(), number + 1 - start));
                open = None;
            }
            continue;
        }
        let words: Vec<_> = line.split_whitespace().collect();
        let signature = words.iter().position(|word| *word == "fn");
        if let Some(at) = signature.filter(|at| words[..*at].iter().all(|w| qualifies(w)))
            && !line.trim_end().ends_with(['}', ';'])
        {
            let name = words
                .get(at + 1)
                .unwrap_or(&"")
                .split(['(', '<'])
                .next()
                .unwrap();
            open = Some((name.to_string(), number, indent));
        }
    }
    found
}

fn qualifies(word: &str) -> bool {
    matches!(word, "pub" | "const" | "async" | "extern" | "unsafe") || word.starts_with("pub(")
}
