//! The IAM API for service accounts and their keys, as far as the guide's commands use it, over
//! REST with JSON.

pub(crate) mod service;

use crate::well_known::GCP_TOKEN_URI;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::Code;

use super::auth::Caller;
use super::identity::{Account, KeyFile, client_id, email_address, project_of};
use super::{Gcp, GcpError};

/// Expiry of keys created here: Google's user-managed keys do not expire.
const NEVER_EXPIRES: &str = "9999-12-31T23:59:59Z";

/// An authenticated request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) caller: &'a Caller,
}

/// Reports whether a path belongs to this API.
pub(crate) fn is_admin_path(path: &str) -> bool {
    path.strip_prefix("/v1/projects/")
        .and_then(|rest| rest.split('/').nth(1))
        == Some("serviceAccounts")
}

/// Operations in the request counts.
pub(crate) const OPERATIONS: &[&str] = &[
    "CreateServiceAccount",
    "CreateServiceAccountKey",
    "DeleteServiceAccount",
    "DeleteServiceAccountKey",
    "GetServiceAccount",
    "ListServiceAccountKeys",
];

/// The operation of a request, for the request counts.
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
        let (method, project) = (
            request.method.as_str(),
            segments.get(2).copied().unwrap_or_default(),
        );
        let of_project = |permission: &str| {
            self.allow(request.caller, permission, &format!("projects/{project}"))
        };
        let of_account = |permission: &str, email: &str| {
            self.account(request.caller, permission, project, email)
        };
        match (method, segments.get(4..).unwrap_or_default()) {
            ("POST", []) => {
                of_project("iam.serviceAccounts.create")?;
                self.create_account(project, &body(request)?)
            }
            ("GET", []) => {
                of_project("iam.serviceAccounts.list")?;
                let accounts = self.identity.accounts.all();
                let shown = accounts
                    .iter()
                    .filter(|account| project_of(&account.email) == project);
                Ok(
                    json!({ "accounts": shown.map(|account| account_to_json(account)).collect::<Vec<_>>() }),
                )
            }
            ("GET", [email]) => Ok(account_to_json(&*of_account(
                "iam.serviceAccounts.get",
                email,
            )?)),
            ("DELETE", [email]) => {
                of_account("iam.serviceAccounts.delete", email)?;
                if self.identity.accounts.remove(email) {
                    Ok(json!({}))
                } else {
                    Err(no_account(email))
                }
            }
            ("POST", [email, "keys"]) => {
                let account = of_account("iam.serviceAccountKeys.create", email)?;
                self.create_key(&account)
            }
            ("GET", [email, "keys"]) => {
                let account = of_account("iam.serviceAccountKeys.list", email)?;
                let keys = account
                    .keys
                    .iter()
                    .map(|key| key_to_json(&account.email, &key.id, None));
                Ok(json!({ "keys": keys.collect::<Vec<_>>() }))
            }
            ("DELETE", [email, "keys", id]) => {
                let account = of_account("iam.serviceAccountKeys.delete", email)?;
                if account.keys.iter().all(|key| key.id != *id) {
                    return Err(GcpError::new(
                        Code::NotFound,
                        format!("Service account key {id} does not exist."),
                    ));
                }
                self.identity
                    .accounts
                    .change_keys(email, |keys| keys.retain(|key| key.id != *id));
                Ok(json!({}))
            }
            _ => Err(GcpError::new(Code::NotFound, "Method not found.")),
        }
    }

    /// Finds an account that the path names within a project. The permission is checked on the
    /// account's own project: the path may name any project, or `-`.
    /// <https://docs.cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/get>
    fn account(
        &self,
        caller: &Caller,
        permission: &str,
        project: &str,
        email: &str,
    ) -> Result<std::sync::Arc<Account>, GcpError> {
        let own = project_of(email);
        if project != "-" && project != own {
            self.allow(caller, permission, &format!("projects/{project}"))?;
            return Err(no_account(email));
        }
        self.allow(caller, permission, &format!("projects/{own}"))?;
        self.identity
            .accounts
            .get(email)
            .ok_or_else(|| no_account(email))
    }

    fn create_account(&self, project: &str, body: &Value) -> Result<Value, GcpError> {
        let id = body["accountId"].as_str().unwrap_or_default();
        let is_id = (6..=30).contains(&id.len())
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && !id.ends_with('-')
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_id {
            return Err(GcpError::bad_field(
                "account_id",
                "The account ID must be 6 to 30 lowercase letters, digits or hyphens, begin with a letter and not end with a hyphen.",
            ));
        }
        let email = email_address(id, project).ok_or_else(|| {
            GcpError::invalid(format!("Invalid resource name: projects/{project}"))
        })?;
        let account = Account {
            email,
            display_name: body["serviceAccount"]["displayName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            keys: Vec::new(),
        };
        let shown = account_to_json(&account);
        if self.identity.accounts.add(account) {
            return Ok(shown);
        }
        Err(GcpError::new(
            Code::AlreadyExists,
            format!("Service account {id} already exists within project projects/{project}."),
        ))
    }

    fn create_key(&self, account: &Account) -> Result<Value, GcpError> {
        let file = KeyFile::generate(&account.email)
            .ok_or_else(|| GcpError::internal("no key can be made"))?;
        self.identity
            .accounts
            .change_keys(&account.email, |keys| keys.push((&file).into()));
        Ok(key_to_json(&account.email, &file.key_id, Some(&file)))
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

fn account_to_json(account: &Account) -> Value {
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

/// A key; `file` is set only in the response that created it.
fn key_to_json(email: &str, id: &str, file: Option<&KeyFile>) -> Value {
    use base64::Engine;
    let mut shown = json!({
        "name": format!("{}/keys/{id}", name(email)),
        "validAfterTime": Timestamp::UNIX_EPOCH.to_string(),
        "validBeforeTime": NEVER_EXPIRES,
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    });
    if let Some(file) = file {
        shown["privateKeyType"] = "TYPE_GOOGLE_CREDENTIALS_FILE".into();
        let text = file.json(GCP_TOKEN_URI);
        shown["privateKeyData"] = base64::engine::general_purpose::STANDARD
            .encode(text.as_bytes())
            .into();
    }
    shown
}
