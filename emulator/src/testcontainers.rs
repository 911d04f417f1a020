//! The emulator in a container, for tests of KMS clients. Needs the feature `testcontainers`.
//!
//! `kmslab assets image` builds the image from the installed kmslab; it is not published.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = kmslab_emulator::testcontainers::start().await?;
//! let config = aws_config::from_env().endpoint_url(emulator.endpoint_url()).load().await;
//! let kms = aws_sdk_kms::Client::new(&config); // AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
//! # Ok(())
//! # }
//! ```
//!
//! Dropping the value removes the container. To configure more, such as a network, start an
//! [`EmulatorImage`] with testcontainers; its ports are then published to other machines as well.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use kmslab_emulator_api::{AdminClient, AdminError, ClockMoved, KeyTable, RequestCounts};
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

/// An emulator in a container, which is removed on drop. Its methods are those of
/// [`crate::Emulator`].
#[derive(Debug)]
pub struct Emulator {
    endpoint_url: String,
    admin: AdminClient,
    container: ContainerAsync<EmulatorImage>,
}

impl Emulator {
    /// `http://HOST:PORT` of AWS KMS and Google Cloud KMS, for an SDK's endpoint URL. Access key
    /// `test`, secret `test`.
    pub fn endpoint_url(&self) -> String {
        self.endpoint_url.clone()
    }

    /// The lab clock, which keys live by.
    pub fn clock(&self) -> EmulatorClock {
        EmulatorClock(self.admin.clone())
    }

    /// Returns all keys with their versions, without key material, after their due rotations.
    pub async fn keys(&self) -> Result<KeyTable, AdminError> {
        self.admin.keys().await
    }

    /// Request counts, including rejected requests.
    pub async fn requests(&self) -> Result<RequestCounts, AdminError> {
        self.admin.requests().await
    }

    /// Removes all keys, callers and request counts. The clock stays.
    pub async fn reset(&self) -> Result<(), AdminError> {
        self.admin.reset().await
    }

    /// Removes the container.
    pub async fn stop(self) -> Result<(), TestcontainersError> {
        self.container.rm().await
    }

    /// The admin port.
    pub fn admin(&self) -> &AdminClient {
        &self.admin
    }

    /// The container.
    pub fn container(&self) -> &ContainerAsync<EmulatorImage> {
        &self.container
    }
}

/// The lab clock of an emulator in a container.
#[derive(Debug, Clone)]
pub struct EmulatorClock(AdminClient);

impl EmulatorClock {
    /// Returns the time that the lab clock shows.
    pub async fn now(&self) -> Result<Timestamp, AdminError> {
        Ok(self.0.clocks().await?.lab)
    }

    /// Advances the clock and applies the rotations and deletions that become due.
    pub async fn advance(&self, by: Duration) -> Result<ClockMoved, AdminError> {
        self.0.advance_clock(by).await
    }

    /// Sets the clock to a later time and applies the rotations and deletions that become due.
    pub async fn set(&self, time: Timestamp) -> Result<ClockMoved, AdminError> {
        self.0.set_clock(time).await
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
    let endpoint_url = format!(
        "http://{host}:{}",
        container.get_host_port_ipv4(HTTP).await?
    );
    let admin = format!(
        "http://{host}:{}",
        container.get_host_port_ipv4(ADMIN).await?
    );
    Ok(Emulator {
        endpoint_url,
        admin: AdminClient::new(admin).map_err(TestcontainersError::other)?,
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
