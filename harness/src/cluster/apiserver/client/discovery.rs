//! Maps apiVersion and kind of an object to its path, by the server's discovery documents.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::http::Http;
use crate::cluster::{ApiError, Resource};

/// A CustomResourceDefinition is served about a second after it is created.
const MAX_DISCOVERY_POLLS: u32 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

type Kind = (String, String);

/// The resources found so far.
#[derive(Debug, Default)]
pub(super) struct DiscoveredResources {
    known: RwLock<HashMap<Kind, Resource>>,
}

impl DiscoveredResources {
    /// Returns the resource of a kind. Waits if its CustomResourceDefinition exists but is not
    /// served yet.
    pub(super) async fn find(
        &self,
        http: &Http,
        api_version: &str,
        kind: &str,
    ) -> Result<Resource, ApiError> {
        let expected = (api_version.to_owned(), kind.to_owned());
        if let Some(found) = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&expected)
        {
            return Ok(found.clone());
        }
        for look in 0..MAX_DISCOVERY_POLLS {
            if let Some(found) = served(http, api_version, kind).await? {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(expected, found.clone());
                return Ok(found);
            }
            if look == 0 && !is_defined(http, api_version, kind).await? {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let message = format!("the server serves no {kind} in {api_version}");
        Err(ApiError {
            status: 404,
            reason: "NotFound".into(),
            message,
        })
    }
}

async fn served(http: &Http, api_version: &str, kind: &str) -> Result<Option<Resource>, ApiError> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let path = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    match http.json(Method::GET, &path, &[], None).await {
        Ok(list) => Ok(find_in_list(&list, group, version, kind)),
        // 503 is returned before the API server knows whether a group is aggregated.
        Err(error) if matches!(error.status, 404 | 503) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Searches an APIResourceList; names with a slash are subresources.
fn find_in_list(list: &Value, group: &str, version: &str, kind: &str) -> Option<Resource> {
    let resources = list.get("resources")?.as_array()?;
    resources.iter().find_map(|resource| {
        let name = resource.get("name")?.as_str()?;
        let matches = resource.get("kind")?.as_str()? == kind && !name.contains('/');
        matches.then(|| {
            let namespaced = resource
                .get("namespaced")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            Resource::new(group, version, name, kind, namespaced)
        })
    })
}

async fn is_defined(http: &Http, api_version: &str, kind: &str) -> Result<bool, ApiError> {
    let Some((group, _)) = api_version.split_once('/') else {
        return Ok(false);
    };
    let list = http
        .json(
            Method::GET,
            &Resource::crds().collection_path(None),
            &[],
            None,
        )
        .await?;
    let definitions = list
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    Ok(definitions.iter().any(|definition| {
        let text = |path: &str| {
            definition
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        text("/spec/group") == group && text("/spec/names/kind") == kind
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_are_not_resources() {
        let list = serde_json::json!({"resources": [
            {"name": "namespaces/finalize", "kind": "Namespace", "namespaced": false},
            {"name": "namespaces", "kind": "Namespace", "namespaced": false},
            {"name": "secrets", "kind": "Secret", "namespaced": true},
        ]});
        assert_eq!(
            find_in_list(&list, "", "v1", "Namespace"),
            Some(Resource::namespaces())
        );
        assert_eq!(
            find_in_list(&list, "", "v1", "Secret"),
            Some(Resource::secrets())
        );
        assert_eq!(find_in_list(&list, "", "v1", "Pod"), None);
        assert_eq!(find_in_list(&Value::Null, "", "v1", "Pod"), None);
    }
}
