//! The IAM API as far as the guide goes: service accounts and their keys. JSON over REST only, as Google has it beside gRPC.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::Code;

use super::auth::Caller;
use super::identity::{Account, KeyFile, TOKEN_URI, client_id, project_of};
use super::{Gcp, GcpError};

/// How long a key made here can be used: Google's user-managed keys do not end.
const FOREVER: &str = "9999-12-31T23:59:59Z";
/// What the address of every service account ends with.
const SUFFIX: &str = ".iam.gserviceaccount.com";

/// A request whose caller is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) caller: &'a Caller,
}

/// Whether a path is one of these.
pub(crate) fn has(path: &str) -> bool {
    path.strip_prefix("/v1/projects/").and_then(|rest| rest.split('/').nth(1)) == Some("serviceAccounts")
}

/// What a path asks for, for the counters.
pub(crate) fn operation(method: &Method, path: &str) -> &'static str {
    let keys = path.split('/').nth(6) == Some("keys");
    match (method.as_str(), keys) {
        ("POST", true) => "CreateServiceAccountKey",
        ("POST", false) => "CreateServiceAccount",
        ("DELETE", true) => "DeleteServiceAccountKey",
        ("DELETE", false) => "DeleteServiceAccount",
        (_, true) => "ListServiceAccountKeys",
        (_, false) => "GetServiceAccount",
    }
}

impl Gcp {
    pub(crate) fn administer(&self, request: Request<'_>) -> Result<Value, GcpError> {
        let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let (method, project) = (request.method.as_str(), segments.get(2).copied().unwrap_or_default());
        let allow = |permission: &str| self.allow(request.caller, permission, &format!("projects/{project}"));
        match (method, segments.get(4..).unwrap_or_default()) {
            ("POST", []) => {
                allow("iam.serviceAccounts.create")?;
                self.create_account(project, &body(request)?)
            }
            ("GET", []) => {
                allow("iam.serviceAccounts.list")?;
                let end = format!("@{project}{SUFFIX}");
                let accounts = self.identity.accounts.all();
                let shown =
                    accounts.iter().filter(|account| account.email.ends_with(&end)).map(|account| shown(account));
                Ok(json!({ "accounts": shown.collect::<Vec<_>>() }))
            }
            ("GET", [email]) => {
                allow("iam.serviceAccounts.get")?;
                Ok(shown(&*self.account(email)?))
            }
            ("DELETE", [email]) => {
                allow("iam.serviceAccounts.delete")?;
                if self.identity.accounts.remove(email) { Ok(json!({})) } else { Err(no_account(email)) }
            }
            ("POST", [email, "keys"]) => {
                allow("iam.serviceAccountKeys.create")?;
                self.create_key(email)
            }
            ("GET", [email, "keys"]) => {
                allow("iam.serviceAccountKeys.list")?;
                let account = self.account(email)?;
                let keys = account.keys.iter().map(|key| shown_key(&account.email, &key.id, None));
                Ok(json!({ "keys": keys.collect::<Vec<_>>() }))
            }
            ("DELETE", [email, "keys", id]) => {
                allow("iam.serviceAccountKeys.delete")?;
                let account = self.account(email)?;
                if account.keys.iter().all(|key| key.id != *id) {
                    return Err(GcpError::new(Code::NotFound, format!("Service account key {id} does not exist.")));
                }
                self.identity.accounts.change_keys(email, |keys| keys.retain(|key| key.id != *id));
                Ok(json!({}))
            }
            _ => Err(GcpError::new(Code::NotFound, "Method not found.")),
        }
    }

    fn account(&self, email: &str) -> Result<std::sync::Arc<Account>, GcpError> {
        self.identity.accounts.get(email).ok_or_else(|| no_account(email))
    }

    fn create_account(&self, project: &str, body: &Value) -> Result<Value, GcpError> {
        let id = body["accountId"].as_str().unwrap_or_default();
        let is_id = (6..=30).contains(&id.len())
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && !id.ends_with('-')
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_id {
            return Err(GcpError::bad_field(
                "account_id",
                "The account ID must be 6 to 30 lowercase letters, digits or hyphens, begin with a letter and not end with a hyphen.",
            ));
        }
        let account = Account {
            email: format!("{id}@{project}{SUFFIX}"),
            display_name: body["serviceAccount"]["displayName"].as_str().unwrap_or_default().to_owned(),
            keys: Vec::new(),
        };
        let shown = shown(&account);
        if self.identity.accounts.add(account) {
            return Ok(shown);
        }
        Err(GcpError::new(
            Code::AlreadyExists,
            format!("Service account {id} already exists within project projects/{project}."),
        ))
    }

    fn create_key(&self, email: &str) -> Result<Value, GcpError> {
        let account = self.account(email)?;
        let file = KeyFile::generate(&account.email).ok_or_else(|| GcpError::internal("no key can be made"))?;
        self.identity.accounts.change_keys(email, |keys| keys.push((&file).into()));
        Ok(shown_key(&account.email, &file.key_id, Some(&file)))
    }
}

fn body(request: Request<'_>) -> Result<Value, GcpError> {
    serde_json::from_slice(request.body).map_err(|error| {
        GcpError::invalid(format!(
            "Invalid JSON payload received. Unable to parse: line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}

fn no_account(email: &str) -> GcpError {
    GcpError::new(Code::NotFound, format!("Unknown service account: {email}"))
}

fn name(email: &str) -> String {
    format!("projects/{}/serviceAccounts/{email}", project_of(email))
}

fn shown(account: &Account) -> Value {
    let id = client_id(&account.email);
    let mut shown = json!({
        "name": name(&account.email),
        "projectId": project_of(&account.email),
        "uniqueId": id,
        "email": account.email,
        "etag": "MDEwMjE5MjA=",
        "oauth2ClientId": id,
    });
    if !account.display_name.is_empty() {
        shown["displayName"] = account.display_name.as_str().into();
    }
    shown
}

/// A key; with its file only in the answer that made it.
fn shown_key(email: &str, id: &str, file: Option<&KeyFile>) -> Value {
    use base64::Engine;
    let mut shown = json!({
        "name": format!("{}/keys/{id}", name(email)),
        "validAfterTime": Timestamp::UNIX_EPOCH.to_string(),
        "validBeforeTime": FOREVER,
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    });
    if let Some(file) = file {
        shown["privateKeyType"] = "TYPE_GOOGLE_CREDENTIALS_FILE".into();
        let text = file.json(TOKEN_URI);
        shown["privateKeyData"] = base64::engine::general_purpose::STANDARD.encode(text.as_bytes()).into();
    }
    shown
}
