//! The emulator in a container, for tests of anything that calls AWS KMS; feature `testcontainers`.
//!
//! The image is made once by `kmslab assets image`, from the kmslab that is installed; it is not
//! published.
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
//! The container goes when the value does. Who needs more of it, such as a network, starts an
//! [`EmulatorImage`] with testcontainers' own means, which publish its ports to other machines too.

use std::collections::HashMap;
use std::path::Path;

use testcontainers::bollard::models::PortBinding;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, Image, ImageExt as _, TestcontainersError};

/// AWS KMS, in the container.
pub const HTTP: ContainerPort = ContainerPort::Tcp(7600);
/// The admin port, in the container: lab clock, key table, metrics.
pub const ADMIN: ContainerPort = ContainerPort::Tcp(7690);

/// `kmslab:VERSION`, which `kmslab assets image` of the same version makes.
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
        // What `--format json` prints once every port listens.
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

/// A running emulator. Dropped, its container is removed.
#[derive(Debug)]
pub struct Emulator {
    endpoint: String,
    admin: String,
    container: ContainerAsync<EmulatorImage>,
}

impl Emulator {
    /// `http://HOST:PORT`, for an SDK's endpoint URL. Access key `test`, secret `test`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// `http://HOST:PORT` of the admin port.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The container itself.
    pub fn container(&self) -> &ContainerAsync<EmulatorImage> {
        &self.container
    }
}

/// Starts one, and waits until it answers. Its ports are on loopback; but where this program runs
/// in a container itself, and the engine may be the one that runs that, they are where
/// testcontainers puts them.
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
