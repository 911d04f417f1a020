//! The metadata server of a Compute Engine machine: a tree of directories and values, readable as
//! text and as JSON.
//!
//! Paths, names and formats follow "View and query VM metadata" and "Predefined metadata keys" in
//! Compute Engine's documentation.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::accounts::project_of;
use super::endpoints::{Content, IdentityResponse, METADATA, Request};
use super::{CLOUD_PLATFORM_SCOPE, Identity};

/// The project number in all responses; emulated projects have no other.
const PROJECT_NUMBER: u64 = 123_456_789_012;
const ZONE: &str = "us-east1-b";
const NAME: &str = "kmslab";
const INSTANCE_ID: u64 = 4_242_424_242_424_242_424;

/// A node of the tree.
enum Node {
    /// A directory; its names are in camel case in JSON.
    Directory(Vec<(&'static str, Node)>),
    /// A directory whose names are data, such as attributes and accounts.
    Named(Vec<(String, Node)>),
    /// A directory of numbered entries.
    Numbered(Vec<Node>),
    /// A string or number.
    Value(Value),
    /// Lines of text.
    Lines(Vec<String>),
    /// Lines of text that are returned as JSON by default.
    JsonLines(Vec<String>),
    /// A value that is generated when read and omitted from recursive listings: a token.
    Made(Generated),
}

#[derive(Clone, Copy)]
enum Generated {
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
        ("identity", Node::Made(Generated::IdToken)),
        ("scopes", Lines(vec![CLOUD_PLATFORM_SCOPE.into()])),
        ("token", Node::Made(Generated::AccessToken)),
    ])
}

/// The tree of a machine with the given service account.
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
            // The earlier spelling, which some libraries still use.
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

    /// The entries of a directory by their names in paths.
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

    /// The listing of a directory, or the text of a value.
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

    /// Everything below as JSON, without tokens.
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

    /// Everything below as lines of path and value.
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

/// Converts `machine-type` to `machineType`.
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
    pub(super) fn metadata(&self, request: Request<'_>) -> IdentityResponse {
        let email = self.default();
        let path = request.path;
        if request.forwarded {
            return IdentityResponse::text(StatusCode::FORBIDDEN, "Forbidden\n");
        }
        // Required so that a request forwarded by mistake gets no token.
        if path != "/"
            && !request
                .flavor
                .is_some_and(|flavor| flavor.eq_ignore_ascii_case("google"))
        {
            return IdentityResponse::text(
                StatusCode::FORBIDDEN,
                "Missing required header \"Metadata-Flavor\": \"Google\"\n",
            );
        }
        let answer = match lookup(&email, path) {
            None => IdentityResponse::text(StatusCode::NOT_FOUND, "Not Found\n"),
            Some(node) if node.is_directory() && !path.ends_with('/') => {
                let query = if request.query.is_empty() {
                    String::new()
                } else {
                    format!("?{}", request.query)
                };
                let to = format!("http://{}{path}/{query}", request.host);
                IdentityResponse {
                    location: Some(to),
                    ..IdentityResponse::text(StatusCode::MOVED_PERMANENTLY, format!("{path}/\n"))
                }
            }
            Some(node) => self.read(&node, &email, &Query::parse(request.query)),
        };
        IdentityResponse {
            caller: Some(email),
            ..answer
        }
    }

    fn read(&self, node: &Node, email: &str, query: &Query) -> IdentityResponse {
        let as_json = |value: Value| IdentityResponse::json(METADATA, StatusCode::OK, value);
        let as_text = |text: String| IdentityResponse::text(StatusCode::OK, text);
        match node {
            Node::Made(Generated::AccessToken) => {
                as_json(self.token_for_machine(email, query.scopes.as_deref()))
            }
            Node::Made(Generated::IdToken) => match query
                .audience
                .as_deref()
                .filter(|audience| !audience.is_empty())
            {
                None => IdentityResponse::text(
                    StatusCode::BAD_REQUEST,
                    "non-empty audience parameter required\n",
                ),
                Some(audience) => match self.id_token(email, audience, query.full.then(machine)) {
                    Some(token) => as_text(token),
                    None => IdentityResponse::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "Internal Server Error\n",
                    ),
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

/// The machine's claims in an ID token of format `full`.
fn machine() -> Value {
    json!({ "compute_engine": {
        "instance_id": INSTANCE_ID.to_string(),
        "instance_name": NAME,
        "project_number": PROJECT_NUMBER,
        "zone": ZONE,
    } })
}

/// Looks up a path, with or without a trailing slash.
fn lookup(email: &str, path: &str) -> Option<Node> {
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

/// Maximum length of requested scopes; longer ones are ignored.
const MAX_SCOPES_LEN: usize = 2048;

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
                // Bounded because the token is cached for an hour.
                ("scopes", scopes) if scopes.len() <= MAX_SCOPES_LEN => {
                    parsed.scopes = Some(value.into_owned())
                }
                ("format", value) => parsed.full = value.eq_ignore_ascii_case("full"),
                _ => {}
            }
        }
        parsed
    }
}

/// The etag of a value, which changes with it.
pub(crate) fn etag(content: &Content) -> String {
    let text = match content {
        Content::Json(value) => value.to_string(),
        Content::Text(text) => text.clone(),
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hex::encode(&digest.as_ref()[..8])
}
