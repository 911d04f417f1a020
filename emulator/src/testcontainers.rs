//! The emulator in a container, for tests of KMS clients. Needs the feature `testcontainers`.
//!
//! `kmslab assets image` builds the image from the installed kmslab; it is not published.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = kmslab_emulator::testcontainers::start().await?;
//! let config = aws_config::from_env().endpoint_url(emulator.endpoint()).load().await;
//! let kms = aws_sdk_kms::Client::new(&config); // AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
//! # Ok(())
//! # }
//! ```
//!
//! Dropping the value removes the container. To configure more, such as a network, start an
//! [`EmulatorImage`] with testcontainers; its ports are then published to other machines as well.

use std::collections::HashMap;
use std::path::Path;

use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, Image, ImageExt as _, TestcontainersError};

/// Port of AWS KMS and Google Cloud KMS in the container.
pub const HTTP: ContainerPort = ContainerPort::Tcp(7600);
/// Admin port in the container: lab clock, key table, metrics.
pub const ADMIN: ContainerPort = ContainerPort::Tcp(7690);

/// The image `kmslab:VERSION`, which `kmslab assets image` of the same version builds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EmulatorImage;

impl Image for EmulatorImage {
    fn name(&self) -> &str {
        "kmslab"
    }

    fn tag(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        // Printed by `--format json` once all ports listen.
        vec![WaitFor::message_on_stdout("\"admin\":")]
    }

    fn cmd(&self) -> impl IntoIterator<Item = impl Into<std::borrow::Cow<'_, str>>> {
        [
            "emulator",
            "--listen",
            "0.0.0.0:7600",
            "--admin-listen",
            "0.0.0.0:7690",
            "--no-tls",
            "--format",
            "json",
        ]
    }

    fn expose_ports(&self) -> &[ContainerPort] {
        &[HTTP, ADMIN]
    }
}

/// A running emulator. Its container is removed on drop.
#[derive(Debug)]
pub struct Emulator {
    endpoint: String,
    admin: String,
    container: ContainerAsync<EmulatorImage>,
}

impl Emulator {
    /// `http://HOST:PORT` for an SDK's endpoint URL. Access key `test`, secret `test`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// `http://HOST:PORT` of the admin port.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The container.
    pub fn container(&self) -> &ContainerAsync<EmulatorImage> {
        &self.container
    }
}

/// Starts a container and waits until it is ready. Its ports are bound to loopback, unless this
/// program runs in a container itself and may share the engine; then testcontainers chooses the
/// addresses.
pub async fn start() -> Result<Emulator, TestcontainersError> {
    let mut request = ContainerRequest::from(EmulatorImage);
    let inside = Path::new("/.dockerenv").exists();
    if !inside {
        request = request.with_host_config_modifier(|host| {
            host.publish_all_ports = Some(false);
            host.port_bindings = Some(HashMap::from([loopback(HTTP), loopback(ADMIN)]));
        });
    }
    let container = request.start().await?;
    let host = if inside {
        container.get_host().await?.to_string()
    } else {
        "127.0.0.1".to_owned()
    };
    let endpoint = format!(
        "http://{host}:{}",
        container.get_host_port_ipv4(HTTP).await?
    );
    let admin = format!(
        "http://{host}:{}",
        container.get_host_port_ipv4(ADMIN).await?
    );
    Ok(Emulator {
        endpoint,
        admin,
        container,
    })
}

fn loopback(port: ContainerPort) -> (String, Option<Vec<PortBinding>>) {
    let binding = PortBinding {
        host_ip: Some("127.0.0.1".into()),
        host_port: Some("0".into()),
    };
    (format!("{}/tcp", port.as_u16()), Some(vec![binding]))
}
