//! The gRPC services of Google, which REST is transcoded to.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use kmslab_emulator_api::{Cloud, Detail, KeyUse, Wrong};
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
use kmslab_keycore::VersionUse;
use tonic::{Request, Status};

use super::audit;
use super::auth::{self, Caller};
use super::identity;
use super::{
    Gcp, GcpError, asymmetric, crypto, faults, iam, import_jobs, keys, raw, retired, rings,
    transcode, versions,
};
use crate::http::body::BodyError;
use crate::http::connection::Connection;
use crate::pipeline::audit::Audited;
use crate::pipeline::faults::{Rejection, Subject};
use crate::pipeline::{Call, Done, Failure, Labels, Pipeline};

/// Message about a body that broke off.
pub(super) const BODY_BROKEN: &str = "The request body ended too early.";

/// Message about a body of more than `limit` bytes.
pub(super) fn body_too_large(limit: usize) -> String {
    format!("Request payload size exceeds the limit: {limit} bytes.")
}

/// The services of an emulator.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    gcp: Arc<Gcp>,
    pipeline: Pipeline,
}

impl Service {
    /// A tonic router with all services.
    pub(crate) fn router(gcp: Arc<Gcp>, pipeline: Pipeline) -> Router {
        let service = Self { gcp, pipeline };
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
        I: Clone + Send + 'static,
        O: Send + 'static,
    {
        let (metadata, extensions, message) = request.into_parts();
        let method = format!("{service}.{call}");
        let headers = metadata.into_headers();
        let connection = extensions.get::<Connection>();
        let origin = self.pipeline.origin(&headers, connection);
        let caller = auth::authenticate(&self.gcp.identity, &headers, &method, identity::CLOUD_KMS);
        let mut labels = Labels {
            operation: call.into(),
            ..Labels::default()
        };
        if let Ok(caller) = &caller {
            labels.caller = caller.email.clone().into();
        }
        let is_audited = self.pipeline.audit.is_on();
        let accepted = caller.map(|caller| GrpcCall {
            gcp: Arc::clone(&self.gcp),
            method,
            caller,
            named: is_audited.then(|| audit::named_key(&message)).flatten(),
            decrypted: is_audited.then(|| audit::ciphertext(&message)).flatten(),
            message: Some(message),
            run,
        });
        let rejected = Audited::default();
        let done = self
            .pipeline
            .call(labels, origin, connection, accepted, rejected);
        let Done { outcome, cut } = done.await;
        let mut response = tonic::Response::new(outcome?);
        if let Some(cut) = cut {
            response.extensions_mut().insert(cut);
        }
        Ok(response)
    }
}

/// An authenticated call.
struct GrpcCall<I, O> {
    gcp: Arc<Gcp>,
    /// Full name of the call.
    method: String,
    caller: Caller,
    /// The key or version that the message is about.
    named: Option<KeyUse>,
    /// Fingerprint of the ciphertext to decrypt.
    decrypted: Option<String>,
    /// `None` once the call has run.
    message: Option<I>,
    run: fn(&Gcp, &Caller, I) -> Result<O, GcpError>,
}

impl<I: Clone + Send + 'static, O: Send + 'static> Call for GrpcCall<I, O> {
    const CLOUD: Cloud = Cloud::Gcp;
    type Output = O;
    type Error = GcpError;

    fn run(&mut self) -> Result<O, GcpError> {
        let message = self.message.take();
        let message = message.ok_or_else(|| GcpError::internal("the call has run"))?;
        (self.run)(&self.gcp, &self.caller, message)
    }

    fn audited(&self, uses: &[VersionUse], outcome: Option<Result<&O, &GcpError>>) -> Audited {
        let mut keys: Vec<KeyUse> = match uses {
            [] => self.named.iter().cloned().collect(),
            uses => uses.iter().filter_map(audit::key_use).collect(),
        };
        if let ([used], [_]) = (&mut keys[..], uses) {
            let made = outcome.and_then(Result::ok);
            let made = made.and_then(|output| audit::ciphertext(output));
            used.ciphertext = self.decrypted.clone().or(made);
        }
        let error = outcome.and_then(Result::err);
        let detail = Some(Detail::Gcp(audit::detail(&self.caller, error)));
        Audited { keys, detail }
    }

    fn subject(&self) -> Option<Subject> {
        self.gcp.fault_subject(self.message.as_ref()?)
    }

    fn rejected(&self, rejection: Rejection<'_>) -> Option<Result<O, GcpError>> {
        let (gcp, message) = (&self.gcp, self.message.as_ref()?);
        let run_as = |caller: &Caller| (self.run)(gcp, caller, message.clone()).err();
        gcp.rejected(&self.caller, &self.method, message, rejection, run_as)
            .map(Err)
    }

    fn corrupt(output: &mut O, wrong: Wrong) -> bool {
        faults::corrupt(output, wrong)
    }
}

impl Failure for GcpError {
    fn unread(unread: BodyError, limit: usize) -> Self {
        match unread {
            BodyError::TooLarge => Self::invalid(body_too_large(limit)),
            BodyError::Broken => Self::invalid(BODY_BROKEN),
        }
    }

    fn panicked() -> Self {
        Self::internal("a request made the emulator panic")
    }

    fn code(&self) -> Cow<'_, str> {
        transcode::code_name(self.code).into()
    }
}

/// Implements a service by functions of its messages.
macro_rules! service {
    ($trait:ident as $name:literal, $rpcs:ident { $($call:ident($rpc:literal, $request:ty) -> $answer:ty = $run:expr;)* }) => {
        /// Names of the calls in the request counts.
        const $rpcs: &[&str] = &[$($rpc),*];

        #[tonic::async_trait]
        impl $trait for Service {
            $(async fn $call(&self, request: Request<$request>) -> Result<tonic::Response<$answer>, Status> {
                self.respond($name, $rpc, request, $run).await
            })*
        }
    };
}

/// Names of all calls.
pub(super) fn call_names() -> impl Iterator<Item = &'static str> {
    [KMS_CALLS, IAM_CALLS, LOCATION_CALLS, OPERATION_CALLS]
        .into_iter()
        .flatten()
        .copied()
}

/// A call that the emulator does not implement.
fn unimplemented<I, O>(_: &Gcp, _: &Caller, _: I) -> Result<O, GcpError> {
    Err(GcpError::unimplemented("This call"))
}

service!(IamPolicy as "google.iam.v1.IAMPolicy", IAM_CALLS {
    set_iam_policy("SetIamPolicy", SetIamPolicyRequest) -> Policy = iam::set;
    get_iam_policy("GetIamPolicy", GetIamPolicyRequest) -> Policy = iam::get;
    test_iam_permissions("TestIamPermissions", TestIamPermissionsRequest) -> TestIamPermissionsResponse = iam::test;
});

service!(Locations as "google.cloud.location.Locations", LOCATION_CALLS {
    list_locations("ListLocations", ListLocationsRequest) -> ListLocationsResponse = rings::locations;
    get_location("GetLocation", GetLocationRequest) -> Location = rings::get_location;
});

service!(Operations as "google.longrunning.Operations", OPERATION_CALLS {
    list_operations("ListOperations", longrunning::ListOperationsRequest) -> longrunning::ListOperationsResponse = unimplemented;
    get_operation("GetOperation", longrunning::GetOperationRequest) -> Operation = retired::get_operation;
    delete_operation("DeleteOperation", longrunning::DeleteOperationRequest) -> () = unimplemented;
    cancel_operation("CancelOperation", longrunning::CancelOperationRequest) -> () = unimplemented;
    wait_operation("WaitOperation", longrunning::WaitOperationRequest) -> Operation = unimplemented;
});

service!(KeyManagementService as "google.cloud.kms.v1.KeyManagementService", KMS_CALLS {
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
