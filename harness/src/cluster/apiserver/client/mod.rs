//! The Kubernetes API over HTTPS, as far as scenarios use it.

mod discovery;
mod http;

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};

use self::discovery::DiscoveredResources;
use self::http::Http;
use super::StartError;
use super::kubeconfig::ClientAccess;
use crate::cluster::{Api, ApiError, Health, ObjectRef, Resource};

/// Objects per page of a list, as in kubectl.
const PAGE_SIZE: usize = 500;

/// The API of one API server, as cluster administrator.
#[derive(Debug)]
pub struct HttpApi {
    http: Http,
    kinds: DiscoveredResources,
    /// Whether a controller manager runs, which finalizes deleted namespaces.
    controllers: bool,
}

impl HttpApi {
    pub(in crate::cluster) fn new(url: &str, access: &ClientAccess) -> Result<Self, StartError> {
        Ok(Self {
            http: Http::new(url, access)?,
            kinds: DiscoveredResources::default(),
            controllers: false,
        })
    }

    /// For a cluster with a controller manager.
    pub(in crate::cluster) fn with_controllers(mut self) -> Self {
        self.controllers = true;
        self
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        self.http.url()
    }

    /// GET of a health path, optionally with a query.
    pub async fn health(&self, path: &str) -> Result<Health, ApiError> {
        let (status, body) = self.http.text(path).await?;
        Ok(Health { status, body })
    }

    /// The server's version, such as `v1.36.3`.
    pub async fn version(&self) -> Result<String, ApiError> {
        let version = self.http.json(Method::GET, "/version", &[], None).await?;
        Ok(version["gitVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// GET of any path.
    pub async fn get_path(&self, path: &str) -> Result<Value, ApiError> {
        self.http.json(Method::GET, path, &[], None).await
    }

    async fn resource_of(&self, object: &Value) -> Result<Resource, ApiError> {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.is_empty() || kind.is_empty() {
            return Err(invalid_object("it names no apiVersion and kind"));
        }
        self.kinds.find(&self.http, api_version, kind).await
    }

    /// Finalizes an empty namespace that is being deleted, in place of the controller manager.
    async fn finalize(&self, at: &ObjectRef, mut namespace: Value) -> Result<(), ApiError> {
        namespace["spec"]["finalizers"] = json!([]);
        self.http
            .json(
                Method::PUT,
                &format!("{}/finalize", at.path()),
                &[],
                Some(&namespace),
            )
            .await
            .map(drop)
    }

    /// Reads a list page by page; `None` if its revision was compacted between two pages.
    async fn pages(&self, resource: &Resource, path: &str) -> Result<Option<Vec<Value>>, ApiError> {
        let limit = PAGE_SIZE.to_string();
        let (mut items, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", limit.as_str())];
            query.extend(next.as_deref().map(|next| ("continue", next)));
            let mut page = match self.http.json(Method::GET, path, &query, None).await {
                Err(error) if error.status == 410 && next.is_some() => return Ok(None),
                page => page?,
            };
            items.extend(take_items(resource, &mut page));
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => next = Some(token.to_owned()),
                _ => return Ok(Some(items)),
            }
        }
    }
}

/// Returns the items of a list with apiVersion and kind, which the server omits.
fn take_items(resource: &Resource, list: &mut Value) -> Vec<Value> {
    let Some(Value::Array(mut items)) = list.get_mut("items").map(Value::take) else {
        return Vec::new();
    };
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.entry("apiVersion")
            .or_insert_with(|| resource.api_version().into());
        item.entry("kind")
            .or_insert_with(|| resource.kind.clone().into());
    }
    items
}

#[async_trait]
impl Api for HttpApi {
    async fn create(&self, object: &Value) -> Result<Value, ApiError> {
        let resource = self.resource_of(object).await?;
        let namespace = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or("default");
        let path = resource.collection_path(Some(namespace));
        self.http.json(Method::POST, &path, &[], Some(object)).await
    }

    async fn get(&self, at: &ObjectRef) -> Result<Value, ApiError> {
        self.http.json(Method::GET, &at.path(), &[], None).await
    }

    async fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ApiError> {
        let path = resource.collection_path(namespace);
        if let Some(items) = self.pages(resource, &path).await? {
            return Ok(items);
        }
        // As client-go's pager: an unpaginated list does not expire.
        let mut list = self.http.json(Method::GET, &path, &[], None).await?;
        Ok(take_items(resource, &mut list))
    }

    async fn replace(&self, object: &Value) -> Result<Value, ApiError> {
        let resource = self.resource_of(object).await?;
        let mut at = ObjectRef::from_object(&resource, object)
            .ok_or_else(|| invalid_object("it has no metadata.name"))?;
        if resource.namespaced {
            at.namespace.get_or_insert_with(|| "default".into());
        }
        self.http
            .json(Method::PUT, &at.path(), &[], Some(object))
            .await
    }

    async fn touch(&self, at: &ObjectRef) -> Result<String, ApiError> {
        let metadata = self
            .http
            .merge_patch_metadata(&at.path(), &json!({}))
            .await?;
        let version = metadata
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        version
            .map(Into::into)
            .ok_or_else(|| ApiError::no_answer("the answer to the patch has no resourceVersion"))
    }

    async fn delete(&self, at: &ObjectRef) -> Result<(), ApiError> {
        let deleted = self
            .http
            .json(Method::DELETE, &at.path(), &[], None)
            .await?;
        if !self.controllers
            && at.resource == Resource::namespaces()
            && deleted.pointer("/metadata/deletionTimestamp").is_some()
        {
            return self.finalize(at, deleted).await;
        }
        Ok(())
    }
}

/// The server would answer 400 as well, but there is no path to send the object to.
fn invalid_object(why: &str) -> ApiError {
    ApiError {
        status: 400,
        reason: "BadRequest".into(),
        message: format!("the object can't be sent: {why}"),
    }
}
