//! Calls of services that the plugin does not implement, from a misconfigured API server.

use hyper_util::rt::TokioIo;
use kmslab_kmsv2::socket::{StatusRequest, StatusResponse};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use crate::support::Lab;

async fn call(lab: &Lab, path: &'static str) -> Status {
    let socket = lab.socket();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            tokio::net::UnixStream::connect(socket)
                .await
                .map(TokioIo::new)
        }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    // The messages are not read; any will do.
    let codec = tonic_prost::ProstCodec::<StatusRequest, StatusResponse>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    grpc.unary(Request::new(StatusRequest {}), path, codec)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn kms_v1_call_gets_a_remedy() {
    let lab = Lab::new();
    let (running, _client) = lab.start().await;
    for (path, says) in [
        (
            "/v1beta1.KeyManagementService/Version",
            "set `apiVersion: v2`",
        ),
        (
            "/v1beta1.KeyManagementService/Decrypt",
            "set `apiVersion: v2`",
        ),
        (
            "/v2alpha1.KeyManagementService/Status",
            "use kube-apiserver 1.32 or newer",
        ),
        (
            "/grpc.health.v1.Health/Check",
            "Status, Encrypt and Decrypt",
        ),
    ] {
        let status = call(&lab, path).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert!(status.message().contains(says), "{path}: {status}");
    }
    running.shutdown().await;
}
