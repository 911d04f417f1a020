//! The metadata server of a Compute Engine machine: a tree of directories and values, each read as
//! text or as JSON.
//!
//! Paths, names and forms: "View and query VM metadata" and "Predefined metadata keys" of Compute
//! Engine's documentation.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::accounts::project_of;
use super::endpoints::{Answer, Content, METADATA, Request};
use super::{EVERYTHING, Identity};

/// The project's number in every answer; the emulator's projects have no other.
const PROJECT_NUMBER: u64 = 123_456_789_012;
const ZONE: &str = "us-east1-b";
const NAME: &str = "kmslab";
const INSTANCE_ID: u64 = 4_242_424_242_424_242_424;

/// One place in the tree.
enum Node {
    /// Names, and what is there; in JSON, names are in camel case.
    Directory(Vec<(&'static str, Node)>),
    /// The same with names that are data: attributes, accounts.
    Named(Vec<(String, Node)>),
    /// Directories by number.
    Numbered(Vec<Node>),
    /// Text, or a number.
    Value(Value),
    /// Lines of text.
    Lines(Vec<String>),
    /// Lines of text that are read as JSON unless asked otherwise.
    JsonLines(Vec<String>),
    /// Made when it is read, and in no listing of values: tokens.
    Made(Made),
}

#[derive(Clone, Copy)]
enum Made {
    AccessToken,
    IdToken,
}

use Node::{Directory, JsonLines, Lines, Named, Numbered};

fn text(text: impl Into<String>) -> Node {
    Node::Value(Value::String(text.into()))
}

fn account(email: &str) -> Node {
    Directory(vec![
        ("aliases", Lines(vec!["default".into()])),
        ("email", text(email)),
        ("identity", Node::Made(Made::IdToken)),
        ("scopes", Lines(vec![EVERYTHING.into()])),
        ("token", Node::Made(Made::AccessToken)),
    ])
}

/// What the machine of that service account says of itself.
fn tree(email: &str) -> Node {
    let project = project_of(email);
    let interface = Directory(vec![
        ("dns-servers", Lines(vec!["169.254.169.254".into()])),
        ("ip", text("10.142.0.2")),
        ("mac", text("42:01:0a:8e:00:02")),
        ("mtu", Node::Value(1460.into())),
        (
            "network",
            text(format!("projects/{PROJECT_NUMBER}/networks/default")),
        ),
    ]);
    let scheduling = Directory(vec![
        ("automatic-restart", text("TRUE")),
        ("on-host-maintenance", text("MIGRATE")),
        ("preemptible", text("FALSE")),
    ]);
    let instance = Directory(vec![
        ("attributes", Named(Vec::new())),
        ("cpu-platform", text("Intel Broadwell")),
        ("description", text("")),
        ("disks", Numbered(Vec::new())),
        (
            "hostname",
            text(format!("{NAME}.{ZONE}.c.{project}.internal")),
        ),
        ("id", Node::Value(INSTANCE_ID.into())),
        ("image", text("")),
        (
            "machine-type",
            text(format!("projects/{PROJECT_NUMBER}/machineTypes/e2-medium")),
        ),
        ("maintenance-event", text("NONE")),
        ("name", text(NAME)),
        ("network-interfaces", Numbered(vec![interface])),
        ("preempted", text("FALSE")),
        ("scheduling", scheduling),
        (
            "service-accounts",
            Named(vec![
                ("default".into(), account(email)),
                (email.into(), account(email)),
            ]),
        ),
        ("tags", JsonLines(Vec::new())),
        (
            "zone",
            text(format!("projects/{PROJECT_NUMBER}/zones/{ZONE}")),
        ),
    ]);
    let project = Directory(vec![
        ("attributes", Named(Vec::new())),
        ("numeric-project-id", Node::Value(PROJECT_NUMBER.into())),
        ("project-id", text(project)),
    ]);
    let universe = Directory(vec![("universe-domain", text("googleapis.com"))]);
    let v1 = Directory(vec![
        ("instance", instance),
        ("project", project),
        ("universe", universe),
    ]);
    Named(vec![(
        "computeMetadata".into(),
        Named(vec![("v1".into(), v1)]),
    )])
}

impl Node {
    fn is_directory(&self) -> bool {
        matches!(self, Directory(_) | Named(_) | Numbered(_))
    }

    fn child(self, name: &str) -> Option<Self> {
        match self {
            // The earlier spelling, which libraries still ask for.
            Directory(entries) => entries
                .into_iter()
                .find(|(known, _)| *known == name || known.replace('-', "_") == name)
                .map(|(_, node)| node),
            Named(entries) => entries
                .into_iter()
                .find(|(known, _)| known == name)
                .map(|(_, node)| node),
            Numbered(nodes) => name
                .parse()
                .ok()
                .and_then(|number: usize| nodes.into_iter().nth(number)),
            _ => None,
        }
    }

    /// Its entries by the names that paths have.
    fn entries(&self) -> Vec<(String, &Self)> {
        match self {
            Directory(entries) => entries
                .iter()
                .map(|(name, node)| ((*name).to_owned(), node))
                .collect(),
            Named(entries) => entries
                .iter()
                .map(|(name, node)| (name.clone(), node))
                .collect(),
            Numbered(nodes) => nodes
                .iter()
                .enumerate()
                .map(|(number, node)| (number.to_string(), node))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The listing of a directory, the text of a value.
    fn text(&self) -> String {
        match self {
            Node::Value(Value::String(text)) => text.clone(),
            Node::Value(value) => value.to_string(),
            Lines(lines) | JsonLines(lines) => {
                lines.iter().map(|line| format!("{line}\n")).collect()
            }
            _ => {
                let line = |(name, node): (String, &Self)| {
                    format!("{name}{}\n", if node.is_directory() { "/" } else { "" })
                };
                self.entries().into_iter().map(line).collect()
            }
        }
    }

    /// Everything below as JSON, tokens left out.
    fn json(&self) -> Option<Value> {
        Some(match self {
            Directory(entries) => {
                let members = entries
                    .iter()
                    .filter_map(|(name, node)| Some((camel_case(name), node.json()?)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            Named(entries) => {
                let members = entries
                    .iter()
                    .filter_map(|(name, node)| Some((name.clone(), node.json()?)));
                Value::Object(members.collect::<Map<_, _>>())
            }
            Numbered(nodes) => nodes.iter().filter_map(Self::json).collect(),
            Node::Value(value) => value.clone(),
            Lines(lines) | JsonLines(lines) => json!(lines),
            Node::Made(_) => return None,
        })
    }

    /// Everything below as lines of a path and a value.
    fn lines(&self, path: &str, lines: &mut String) {
        for (name, node) in self.entries() {
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            match node {
                Node::Made(_) => {}
                node if node.is_directory() => node.lines(&path, lines),
                node => {
                    for line in node.text().lines() {
                        lines.push_str(&format!("{path} {line}\n"));
                    }
                }
            }
        }
    }
}

/// `machine-type` as JSON has it: `machineType`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let mut letters = part.chars();
        let start = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &start.into_iter().chain(letters).collect::<String>()
    })
}

impl Identity {
    /// Answers a request to the metadata server.
    pub(super) fn metadata(&self, request: Request<'_>) -> Answer {
        let email = self.default();
        let path = request.path;
        if request.forwarded {
            return Answer::text(StatusCode::FORBIDDEN, "Forbidden\n");
        }
        // So that no request that was let through by mistake gets a token.
        if path != "/"
            && !request
                .flavor
                .is_some_and(|flavor| flavor.eq_ignore_ascii_case("google"))
        {
            return Answer::text(
                StatusCode::FORBIDDEN,
                "Missing required header \"Metadata-Flavor\": \"Google\"\n",
            );
        }
        let answer = match find(&email, path) {
            None => Answer::text(StatusCode::NOT_FOUND, "Not Found\n"),
            Some(node) if node.is_directory() && !path.ends_with('/') => {
                let query = if request.query.is_empty() {
                    String::new()
                } else {
                    format!("?{}", request.query)
                };
                let to = format!("http://{}{path}/{query}", request.host);
                Answer {
                    location: Some(to),
                    ..Answer::text(StatusCode::MOVED_PERMANENTLY, format!("{path}/\n"))
                }
            }
            Some(node) => self.read(&node, &email, &Query::parse(request.query)),
        };
        Answer {
            caller: Some(email),
            ..answer
        }
    }

    fn read(&self, node: &Node, email: &str, query: &Query) -> Answer {
        let as_json = |value: Value| Answer::json(METADATA, StatusCode::OK, value);
        let as_text = |text: String| Answer::text(StatusCode::OK, text);
        match node {
            Node::Made(Made::AccessToken) => {
                as_json(self.given_to_machine(email, query.scopes.as_deref()))
            }
            Node::Made(Made::IdToken) => match query
                .audience
                .as_deref()
                .filter(|audience| !audience.is_empty())
            {
                None => Answer::text(
                    StatusCode::BAD_REQUEST,
                    "non-empty audience parameter required\n",
                ),
                Some(audience) => match self.id_token(email, audience, query.full.then(machine)) {
                    Some(token) => as_text(token),
                    None => {
                        Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n")
                    }
                },
            },
            node if node.is_directory() && query.recursive => match query.alt {
                Some(Alt::Text) => {
                    let mut lines = String::new();
                    node.lines("", &mut lines);
                    as_text(lines)
                }
                _ => as_json(node.json().unwrap_or_default()),
            },
            node if node.is_directory() => as_text(node.text()),
            node => {
                let json = match query.alt {
                    Some(alt) => alt == Alt::Json,
                    None => matches!(node, JsonLines(_)),
                };
                if json {
                    as_json(node.json().unwrap_or_default())
                } else {
                    as_text(node.text())
                }
            }
        }
    }
}

/// What an ID token of the format `full` says of the machine.
fn machine() -> Value {
    json!({ "compute_engine": {
        "instance_id": INSTANCE_ID.to_string(),
        "instance_name": NAME,
        "project_number": PROJECT_NUMBER,
        "zone": ZONE,
    } })
}

/// The place of a path; one slash at its end is allowed, and none is needed.
fn find(email: &str, path: &str) -> Option<Node> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(tree(email));
    }
    path.split('/').try_fold(tree(email), Node::child)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alt {
    Text,
    Json,
}

/// Of scopes that are looked at; longer ones are as none.
const LONGEST_SCOPES: usize = 2048;

#[derive(Default)]
struct Query {
    recursive: bool,
    alt: Option<Alt>,
    audience: Option<String>,
    scopes: Option<String>,
    full: bool,
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("recursive", value) => parsed.recursive = value.eq_ignore_ascii_case("true"),
                ("alt", "text") => parsed.alt = Some(Alt::Text),
                ("alt", "json") => parsed.alt = Some(Alt::Json),
                ("audience", _) => parsed.audience = Some(value.into_owned()),
                // One of any length would be kept for an hour.
                ("scopes", scopes) if scopes.len() <= LONGEST_SCOPES => {
                    parsed.scopes = Some(value.into_owned())
                }
                ("format", value) => parsed.full = value.eq_ignore_ascii_case("full"),
                _ => {}
            }
        }
        parsed
    }
}

/// A value's tag: what changes with it.
pub(crate) fn etag(content: &Content) -> String {
    let text = match content {
        Content::Json(value) => value.to_string(),
        Content::Text(text) => text.clone(),
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hex::encode(&digest.as_ref()[..8])
}
