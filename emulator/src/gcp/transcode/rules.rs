//! Maps paths to calls by the `google.api.http` rules in the service descriptors.

use std::sync::LazyLock;

use http::Method;
use kmslab_googleapis::descriptors;
use percent_encoding::percent_decode_str;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

/// Services with HTTP rules.
const SERVICES: [&str; 4] = [
    "google.cloud.kms.v1.KeyManagementService",
    "google.iam.v1.IAMPolicy",
    "google.cloud.location.Locations",
    "google.longrunning.Operations",
];
/// Rules of Cloud KMS' service configuration (`cloudkms_v1.yaml`) that replace those of mixed-in
/// services.
const RULE_OVERRIDES: [(&str, &str, &str); 2] = [
    (
        "google.iam.v1.IAMPolicy.GetIamPolicy",
        "get",
        "/v1/{resource=projects/*/locations/*/**}:getIamPolicy",
    ),
    (
        "google.longrunning.Operations.GetOperation",
        "get",
        "/v1/{name=projects/*/locations/*/operations/*}",
    ),
];

/// An HTTP rule of a call.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) call: MethodDescriptor,
    method: Method,
    segments: Vec<Segment>,
    verb: Option<String>,
    /// The field that the body maps to: `*` for the whole message, empty for no body.
    pub(super) body: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*`, or `**` at the end; with the variable that it belongs to.
    Any {
        variable: String,
        many: bool,
    },
    /// A literal inside a variable.
    Within {
        variable: String,
        literal: String,
    },
}

/// Variables of a matched path, percent-decoded.
pub(super) type Variables = Vec<(String, String)>;

/// All rules.
pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let services = SERVICES
            .iter()
            .filter_map(|name| descriptors().get_service_by_name(name));
        services
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .flat_map(rules_of_call)
            .collect()
    });
    &RULES
}

fn rules_of_call(call: MethodDescriptor) -> Vec<Rule> {
    if let Some((_, method, pattern)) = RULE_OVERRIDES
        .iter()
        .find(|(name, ..)| *name == call.full_name())
    {
        return rule(&call, method, pattern, String::new())
            .into_iter()
            .collect();
    }
    let Some(http) = descriptors().get_extension_by_name("google.api.http") else {
        return Vec::new();
    };
    let options = call.options();
    let said = options.get_extension(&http);
    let Some(said) = said.as_message() else {
        return Vec::new();
    };
    let mut all = vec![said.clone()];
    let bindings = said.get_field_by_name("additional_bindings");
    let bindings = bindings
        .as_ref()
        .and_then(|bindings| bindings.as_list())
        .unwrap_or_default();
    all.extend(bindings.iter().filter_map(Value::as_message).cloned());
    all.iter()
        .filter_map(|binding| variable_segments(&call, binding))
        .collect()
}

fn variable_segments(call: &MethodDescriptor, binding: &DynamicMessage) -> Option<Rule> {
    let text = |name: &str| {
        let value = binding.get_field_by_name(name)?;
        Some(value.as_str()?.to_owned()).filter(|text| !text.is_empty())
    };
    let (method, pattern) = ["get", "post", "patch", "delete", "put"]
        .iter()
        .find_map(|m| Some((*m, text(m)?)))?;
    rule(call, method, &pattern, text("body").unwrap_or_default())
}

fn rule(call: &MethodDescriptor, method: &str, pattern: &str, body: String) -> Option<Rule> {
    let (path, verb) = match pattern.rsplit_once('}') {
        Some((_, rest)) if rest.contains(':') => pattern
            .rsplit_once(':')
            .map(|(path, verb)| (path, Some(verb.to_owned())))?,
        None if pattern.contains(':') => pattern
            .rsplit_once(':')
            .map(|(path, verb)| (path, Some(verb.to_owned())))?,
        _ => (pattern, None),
    };
    let mut segments = Vec::new();
    let mut rest = path.strip_prefix('/')?;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('{') {
            let (variable, after) = after.split_once('}')?;
            let (name, template) = variable.split_once('=').unwrap_or((variable, "*"));
            let within = |part: &str| match part {
                "*" | "**" => Segment::Any {
                    variable: name.to_owned(),
                    many: part == "**",
                },
                literal => Segment::Within {
                    variable: name.to_owned(),
                    literal: literal.to_owned(),
                },
            };
            segments.extend(template.split('/').map(within));
            rest = after.strip_prefix('/').unwrap_or(after);
        } else {
            let (literal, after) = rest.split_once('/').unwrap_or((rest, ""));
            segments.push(Segment::Literal(literal.to_owned()));
            rest = after;
        }
    }
    let method = method.to_ascii_uppercase().parse().ok()?;
    Some(Rule {
        call: call.clone(),
        method,
        segments,
        verb,
        body,
    })
}

impl Rule {
    /// Matches a path and returns its variables.
    fn matches(&self, method: &Method, path: &str) -> Option<Variables> {
        if *method != self.method {
            return None;
        }
        let path = match &self.verb {
            Some(verb) => path.strip_suffix(verb.as_str())?.strip_suffix(':')?,
            None => path,
        };
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let ends_open = matches!(self.segments.last(), Some(Segment::Any { many: true, .. }));
        if parts.len() < self.segments.len() || (parts.len() > self.segments.len() && !ends_open) {
            return None;
        }
        let mut variables: Variables = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let part = percent_decode_str(part).decode_utf8().ok()?;
            let variable = match &self.segments[at.min(self.segments.len() - 1)] {
                Segment::Literal(literal) if *literal == part => continue,
                Segment::Within { variable, literal } if *literal == part => variable,
                // A colon starts a verb, which this rule does not have.
                Segment::Any { variable, .. } if !part.is_empty() && !part.contains(':') => {
                    variable
                }
                _ => return None,
            };
            match variables.last_mut().filter(|(name, _)| name == variable) {
                Some((_, value)) => {
                    value.push('/');
                    value.push_str(&part);
                }
                None => variables.push((variable.clone(), part.into_owned())),
            }
        }
        Some(variables)
    }
}

/// Finds the call of a path and its variables.
pub(super) fn find(method: &Method, path: &str) -> Option<(&'static Rule, Variables)> {
    rules()
        .iter()
        .find_map(|rule| Some((rule, rule.matches(method, path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: &str = "/v1/projects/p/locations/l/keyRings/r";

    fn called(method: Method, path: &str) -> Option<(String, Variables)> {
        find(&method, path).map(|(rule, variables)| (rule.call.name().to_owned(), variables))
    }

    #[test]
    fn paths_map_to_the_calls_of_the_http_rules() {
        for (method, path, call, variable) in [
            (
                Method::GET,
                format!("{RING}/cryptoKeys"),
                "ListCryptoKeys",
                "parent",
            ),
            (Method::GET, RING.to_owned(), "GetKeyRing", "name"),
            (
                Method::POST,
                format!("{RING}/cryptoKeys/k:encrypt"),
                "Encrypt",
                "name",
            ),
            (
                Method::POST,
                format!("{RING}/cryptoKeys/k/cryptoKeyVersions/1:encrypt"),
                "Encrypt",
                "name",
            ),
            (
                Method::POST,
                format!("{RING}/cryptoKeys/k/cryptoKeyVersions/1:destroy"),
                "DestroyCryptoKeyVersion",
                "name",
            ),
            (
                Method::PATCH,
                format!("{RING}/cryptoKeys/k"),
                "UpdateCryptoKey",
                "crypto_key.name",
            ),
            (
                Method::GET,
                format!("{RING}/cryptoKeys/k:getIamPolicy"),
                "GetIamPolicy",
                "resource",
            ),
            (
                Method::POST,
                format!("{RING}:setIamPolicy"),
                "SetIamPolicy",
                "resource",
            ),
            (
                Method::GET,
                format!("{RING}/cryptoKeys/k/cryptoKeyVersions/1/publicKey"),
                "GetPublicKey",
                "name",
            ),
            (
                Method::GET,
                "/v1/projects/p/locations".into(),
                "ListLocations",
                "name",
            ),
            (
                Method::POST,
                "/v1/projects/p/locations/l:generateRandomBytes".into(),
                "GenerateRandomBytes",
                "location",
            ),
        ] {
            let (found, variables) = called(method, &path).unwrap();
            assert_eq!(
                (found.as_str(), variables[0].0.as_str()),
                (call, variable),
                "{path}"
            );
            let value = path.trim_start_matches("/v1/").split(':').next().unwrap();
            assert!(value.starts_with(&variables[0].1), "{path}: {variables:?}");
        }
    }

    #[test]
    fn unmapped_paths_are_rejected() {
        for (method, path) in [
            (Method::PUT, RING.to_owned()),
            (Method::GET, format!("{RING}/")),
            (Method::GET, format!("{RING}/cryptoKeys/")),
            (Method::POST, format!("{RING}/cryptoKeys/k:unknown")),
            (Method::POST, format!("{RING}/cryptoKeys/:encrypt")),
            (Method::GET, "/".into()),
            (Method::GET, String::new()),
            (Method::GET, "/v1/%ff".into()),
        ] {
            assert_eq!(called(method, &path), None, "{path}");
        }
    }
}
