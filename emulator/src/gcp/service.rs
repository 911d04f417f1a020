//! The calls of the Google front end: authentication, authorization, execution and counting, once
//! for both wires.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::request::Parts;
use kmslab_googleapis::google::cloud::location::locations_server::{Locations, LocationsServer};
use kmslab_googleapis::google::cloud::location::{
    GetLocationRequest, ListLocationsRequest, ListLocationsResponse, Location,
};
use kmslab_googleapis::google::iam::v1::iam_policy_server::{IamPolicy, IamPolicyServer};
use kmslab_googleapis::google::iam::v1::{
    GetIamPolicyRequest, Policy, SetIamPolicyRequest, TestIamPermissionsRequest,
    TestIamPermissionsResponse,
};
use kmslab_googleapis::google::longrunning::operations_server::{Operations, OperationsServer};
use kmslab_googleapis::google::longrunning::{self, Operation};
use kmslab_googleapis::kms;
use kmslab_googleapis::kms::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use tonic::{Request, Status};

use super::auth::{self, Caller};
use super::identity::{self, Identity};
use super::{
    Gcp, GcpError, admin, asymmetric, crypto, iam, import_jobs, keys, raw, retired, rings,
    transcode, versions,
};
use crate::counts::{Counter, OK, UNKNOWN};
use crate::http::body as http_body;

const CLOUD: &str = "gcp";
/// A signed assertion has about 1 KiB.
const MAX_TOKEN_REQUEST_BYTES: usize = 64 * 1024;

/// The services of an emulator.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    gcp: Arc<Gcp>,
    counter: Arc<Counter>,
}

impl Service {
    /// A tonic router with all services.
    pub(crate) fn router(gcp: Arc<Gcp>, counter: Arc<Counter>) -> Router {
        let service = Self { gcp, counter };
        tonic::service::Routes::new(KeyManagementServiceServer::new(service.clone()))
            .add_service(IamPolicyServer::new(service.clone()))
            .add_service(LocationsServer::new(service.clone()))
            .add_service(OperationsServer::new(service))
            .into_axum_router()
    }

    /// Runs a call, from its metadata to its response.
    async fn respond<I, O>(
        &self,
        service: &str,
        call: &'static str,
        request: Request<I>,
        run: fn(&Gcp, &Caller, I) -> Result<O, GcpError>,
    ) -> Result<tonic::Response<O>, Status>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let (metadata, _, message) = request.into_parts();
        let method = format!("{service}.{call}");
        let caller = auth::authenticate(
            &self.gcp.identity,
            &metadata.into_headers(),
            &method,
            identity::CLOUD_KMS,
        );
        let email = caller
            .as_ref()
            .map_or_else(|_| UNKNOWN.to_owned(), |caller| caller.email.clone());
        let outcome = match caller {
            Err(error) => Err(error),
            Ok(caller) => {
                // Off the async worker, since RSA is slow.
                let gcp = Arc::clone(&self.gcp);
                let ran = tokio::task::spawn_blocking(move || run(&gcp, &caller, message));
                ran.await.unwrap_or_else(|_| {
                    Err(GcpError::internal("a request made the emulator panic"))
                })
            }
        };
        let code = outcome
            .as_ref()
            .map_or_else(|error| transcode::code_name(error.code), |_| OK);
        self.counter.count(CLOUD, call, &email, code);
        outcome.map(tonic::Response::new).map_err(Status::from)
    }
}

/// Reports whether a request is a gRPC call.
pub(crate) fn is_grpc(parts: &Parts) -> bool {
    parts
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a request: `application/grpc` as gRPC, everything else as REST.
pub(crate) async fn serve(grpc: Router, parts: Parts, body: Body) -> Response {
    if !is_grpc(&parts) {
        return transcode::serve(grpc, parts, body).await;
    }
    match tower::ServiceExt::oneshot(grpc, http::Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Reports whether a path belongs to the IAM API.
pub(crate) fn is_iam_path(path: &str) -> bool {
    admin::is_admin_path(path)
}

/// Answers a request to the IAM API.
pub(crate) async fn serve_admin(
    gcp: Arc<Gcp>,
    counter: &Counter,
    parts: Parts,
    body: Body,
) -> Response {
    let operation = admin::operation(&parts.method, parts.uri.path());
    let method = format!("google.iam.admin.v1.IAM.{operation}");
    let caller = auth::authenticate(&gcp.identity, &parts.headers, &method, identity::IAM);
    let email = caller
        .as_ref()
        .map_or_else(|_| UNKNOWN.to_owned(), |caller| caller.email.clone());
    let body = http_body::read(body, MAX_TOKEN_REQUEST_BYTES)
        .await
        .unwrap_or_default();
    let outcome = match caller {
        Err(error) => Err(error),
        Ok(caller) => {
            // Off the async worker, since a new key is RSA.
            let ran = tokio::task::spawn_blocking(move || {
                let path = parts.uri.path();
                gcp.administer(admin::Request {
                    method: &parts.method,
                    path,
                    body: &body,
                    caller: &caller,
                })
            });
            ran.await
                .unwrap_or_else(|_| Err(GcpError::internal("a request made the emulator panic")))
        }
    };
    let code = outcome
        .as_ref()
        .map_or_else(|error| transcode::code_name(error.code), |_| OK);
    counter.count(CLOUD, operation, &email, code);
    match outcome {
        Ok(body) => transcode::response(http::StatusCode::OK, &body),
        Err(error) => transcode::error_response(&error),
    }
}

/// Answers a request to the token endpoint or the metadata server.
pub(crate) async fn serve_identity(
    identity: &Identity,
    counter: &Counter,
    parts: Parts,
    body: Body,
) -> Response {
    let body = http_body::read(body, MAX_TOKEN_REQUEST_BYTES)
        .await
        .unwrap_or_default();
    let flavor = parts
        .headers
        .get("metadata-flavor")
        .and_then(|value| value.to_str().ok());
    let request = identity::Request {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        host: &crate::http::host::host(&parts),
        forwarded: parts.headers.contains_key("x-forwarded-for"),
        flavor,
        body: &body,
    };
    let answer = identity.respond(request);
    let code = if answer.status.is_success() {
        OK.to_owned()
    } else {
        answer.status.as_u16().to_string()
    };
    counter.count(
        CLOUD,
        answer.operation,
        answer.caller.as_deref().unwrap_or(UNKNOWN),
        &code,
    );
    let (kind, text) = match &answer.body {
        identity::Content::Json(value) => ("application/json", value.to_string()),
        identity::Content::Text(text) => ("application/text", text.clone()),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if answer.operation == identity::METADATA {
        headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
        headers.insert(
            http::header::SERVER,
            HeaderValue::from_static("Metadata Server for VM"),
        );
        headers.insert("x-xss-protection", HeaderValue::from_static("0"));
        headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
        if let Ok(tag) = HeaderValue::from_str(&identity::etag(&answer.body)) {
            headers.insert(http::header::ETAG, tag);
        }
    }
    if let Some(location) = answer
        .location
        .and_then(|location| HeaderValue::from_str(&location).ok())
    {
        headers.insert(http::header::LOCATION, location);
    }
    response
}

/// Implements a service by functions of its messages.
macro_rules! service {
    ($trait:ident as $name:literal { $($call:ident($rpc:literal, $request:ty) -> $answer:ty = $run:expr;)* }) => {
        #[tonic::async_trait]
        impl $trait for Service {
            $(async fn $call(&self, request: Request<$request>) -> Result<tonic::Response<$answer>, Status> {
                self.respond($name, $rpc, request, $run).await
            })*
        }
    };
}

/// A call that the emulator does not implement.
fn unimplemented<I, O>(_: &Gcp, _: &Caller, _: I) -> Result<O, GcpError> {
    Err(GcpError::unimplemented("This call"))
}

service!(IamPolicy as "google.iam.v1.IAMPolicy" {
    set_iam_policy("SetIamPolicy", SetIamPolicyRequest) -> Policy = iam::set;
    get_iam_policy("GetIamPolicy", GetIamPolicyRequest) -> Policy = iam::get;
    test_iam_permissions("TestIamPermissions", TestIamPermissionsRequest) -> TestIamPermissionsResponse = iam::test;
});

service!(Locations as "google.cloud.location.Locations" {
    list_locations("ListLocations", ListLocationsRequest) -> ListLocationsResponse = rings::locations;
    get_location("GetLocation", GetLocationRequest) -> Location = rings::get_location;
});

service!(Operations as "google.longrunning.Operations" {
    list_operations("ListOperations", longrunning::ListOperationsRequest) -> longrunning::ListOperationsResponse = unimplemented;
    get_operation("GetOperation", longrunning::GetOperationRequest) -> Operation = retired::get_operation;
    delete_operation("DeleteOperation", longrunning::DeleteOperationRequest) -> () = unimplemented;
    cancel_operation("CancelOperation", longrunning::CancelOperationRequest) -> () = unimplemented;
    wait_operation("WaitOperation", longrunning::WaitOperationRequest) -> Operation = unimplemented;
});

service!(KeyManagementService as "google.cloud.kms.v1.KeyManagementService" {
    list_key_rings("ListKeyRings", kms::ListKeyRingsRequest) -> kms::ListKeyRingsResponse = rings::list;
    get_key_ring("GetKeyRing", kms::GetKeyRingRequest) -> kms::KeyRing = rings::get;
    create_key_ring("CreateKeyRing", kms::CreateKeyRingRequest) -> kms::KeyRing = rings::create;
    list_crypto_keys("ListCryptoKeys", kms::ListCryptoKeysRequest) -> kms::ListCryptoKeysResponse = keys::list;
    get_crypto_key("GetCryptoKey", kms::GetCryptoKeyRequest) -> kms::CryptoKey = keys::get;
    create_crypto_key("CreateCryptoKey", kms::CreateCryptoKeyRequest) -> kms::CryptoKey = keys::create;
    update_crypto_key("UpdateCryptoKey", kms::UpdateCryptoKeyRequest) -> kms::CryptoKey = keys::update;
    list_crypto_key_versions("ListCryptoKeyVersions", kms::ListCryptoKeyVersionsRequest)
        -> kms::ListCryptoKeyVersionsResponse = versions::list;
    get_crypto_key_version("GetCryptoKeyVersion", kms::GetCryptoKeyVersionRequest) -> kms::CryptoKeyVersion = versions::get;
    create_crypto_key_version("CreateCryptoKeyVersion", kms::CreateCryptoKeyVersionRequest)
        -> kms::CryptoKeyVersion = versions::create;
    update_crypto_key_version("UpdateCryptoKeyVersion", kms::UpdateCryptoKeyVersionRequest)
        -> kms::CryptoKeyVersion = versions::update;
    update_crypto_key_primary_version("UpdateCryptoKeyPrimaryVersion", kms::UpdateCryptoKeyPrimaryVersionRequest)
        -> kms::CryptoKey = versions::update_primary;
    destroy_crypto_key_version("DestroyCryptoKeyVersion", kms::DestroyCryptoKeyVersionRequest)
        -> kms::CryptoKeyVersion = versions::destroy;
    restore_crypto_key_version("RestoreCryptoKeyVersion", kms::RestoreCryptoKeyVersionRequest)
        -> kms::CryptoKeyVersion = versions::restore;
    encrypt("Encrypt", kms::EncryptRequest) -> kms::EncryptResponse = crypto::encrypt;
    decrypt("Decrypt", kms::DecryptRequest) -> kms::DecryptResponse = crypto::decrypt;
    raw_encrypt("RawEncrypt", kms::RawEncryptRequest) -> kms::RawEncryptResponse = raw::encrypt;
    raw_decrypt("RawDecrypt", kms::RawDecryptRequest) -> kms::RawDecryptResponse = raw::decrypt;
    get_public_key("GetPublicKey", kms::GetPublicKeyRequest) -> kms::PublicKey = asymmetric::public_key;
    asymmetric_sign("AsymmetricSign", kms::AsymmetricSignRequest) -> kms::AsymmetricSignResponse = asymmetric::sign;
    asymmetric_decrypt("AsymmetricDecrypt", kms::AsymmetricDecryptRequest)
        -> kms::AsymmetricDecryptResponse = asymmetric::decrypt;
    mac_sign("MacSign", kms::MacSignRequest) -> kms::MacSignResponse = asymmetric::mac_sign;
    mac_verify("MacVerify", kms::MacVerifyRequest) -> kms::MacVerifyResponse = asymmetric::mac_verify;
    generate_random_bytes("GenerateRandomBytes", kms::GenerateRandomBytesRequest)
        -> kms::GenerateRandomBytesResponse = asymmetric::random;
    list_import_jobs("ListImportJobs", kms::ListImportJobsRequest) -> kms::ListImportJobsResponse = import_jobs::list;
    get_import_job("GetImportJob", kms::GetImportJobRequest) -> kms::ImportJob = import_jobs::get;
    create_import_job("CreateImportJob", kms::CreateImportJobRequest) -> kms::ImportJob = import_jobs::create;
    import_crypto_key_version("ImportCryptoKeyVersion", kms::ImportCryptoKeyVersionRequest)
        -> kms::CryptoKeyVersion = import_jobs::import;
    list_retired_resources("ListRetiredResources", kms::ListRetiredResourcesRequest)
        -> kms::ListRetiredResourcesResponse = retired::list;
    get_retired_resource("GetRetiredResource", kms::GetRetiredResourceRequest) -> kms::RetiredResource = retired::get;
    delete_crypto_key("DeleteCryptoKey", kms::DeleteCryptoKeyRequest) -> Operation = retired::delete_key;
    delete_crypto_key_version("DeleteCryptoKeyVersion", kms::DeleteCryptoKeyVersionRequest) -> Operation = retired::delete_version;
    import_trusted_key_wrapped_crypto_key_version(
        "ImportTrustedKeyWrappedCryptoKeyVersion",
        kms::ImportTrustedKeyWrappedCryptoKeyVersionRequest
    ) -> kms::CryptoKeyVersion = unimplemented;
    export_trusted_key_wrapped_crypto_key_version(
        "ExportTrustedKeyWrappedCryptoKeyVersion",
        kms::ExportTrustedKeyWrappedCryptoKeyVersionRequest
    ) -> kms::ExportTrustedKeyWrappedCryptoKeyVersionResponse = unimplemented;
    decapsulate("Decapsulate", kms::DecapsulateRequest) -> kms::DecapsulateResponse = asymmetric::decapsulate;
});
