//! The emulator in a container next to kind's nodes, which reach it by name over TLS.

use kmslab_emulator::well_known::AZURE_TENANT;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::cloud::{self, AdminClient, Endpoints};
use crate::cluster::kind::bundle::Bundle;
use crate::cluster::kind::files::CA_PATH;
use crate::engine::{Engine, OwnedContainers};
use crate::runtime_dir::RuntimeDir;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Ports in the container: the defaults of `kmslab emulator`.
const HTTP: u16 = 7600;
const HTTPS: u16 = 7643;
const PROXY: u16 = 7680;
const ADMIN: u16 = 7690;
/// Paths in the container: the emulator's CA, and its seed.
const TLS_DIR: &str = "/tmp/tls";
const SEED: &str = "/tmp/seed.json";

/// A running emulator, removed with the lab's network.
pub(super) struct EmulatorContainer {
    /// Name of the container.
    pub(super) container: String,
    /// Endpoints from this machine.
    pub(super) endpoints: Endpoints,
    /// Endpoints from a node, by name and over TLS.
    pub(super) from_nodes: Endpoints,
    /// CA certificate, PEM.
    pub(super) ca: Vec<u8>,
}

/// Name of the container, also on the network.
pub(super) fn name(network: &str) -> String {
    format!("{network}-emulator")
}

pub(super) async fn start(
    engine: &Engine,
    bundle: &Bundle,
    network: &str,
    owned: &OwnedContainers,
    dir: &RuntimeDir,
) -> anyhow::Result<EmulatorContainer> {
    let (name, label) = (name(network), owned.label());
    // Labelled with the lab, so that it is removed with it.
    let image = format!("kmslab-emulator:{network}");
    bundle
        .image(engine, &image, std::slice::from_ref(&label))
        .await?;

    let publish = [HTTP, HTTPS, PROXY, ADMIN].map(|port| format!("127.0.0.1::{port}"));
    let mut create = vec![
        "create",
        "--name",
        &name,
        "--network",
        network,
        "--label",
        &label,
    ];
    for port in &publish {
        create.extend(["--publish", port]);
    }
    create.push(&image);
    let listen = [HTTP, HTTPS, PROXY, ADMIN].map(|port| format!("0.0.0.0:{port}"));
    create.extend([
        "emulator",
        "--listen",
        &listen[0],
        "--tls-listen",
        &listen[1],
    ]);
    create.extend(["--proxy-listen", &listen[2], "--admin-listen", &listen[3]]);
    create.extend([
        "--tls-dir",
        TLS_DIR,
        "--tls-name",
        &name,
        "--seed",
        SEED,
        "--format",
        "json",
    ]);
    engine.run(&create).await?;
    // As a copied file and not as a flag, which every user of the engine can read.
    let seed = cloud::seed();
    let seed = dir.write_private("emulator-seed.json", seed.to_string().as_bytes())?;
    engine
        .run(&["cp", &seed.display().to_string(), &format!("{name}:{SEED}")])
        .await?;
    engine.run(&["start", &name]).await?;

    let admin = format!("http://{}", engine.port(&name, ADMIN).await?);
    wait_until_ready(engine, &name, &AdminClient::new(&admin)?).await?;
    let ca = dir.file("emulator-ca.pem");
    engine
        .run(&[
            "cp",
            &format!("{name}:{TLS_DIR}/ca.pem"),
            &ca.display().to_string(),
        ])
        .await?;
    let https = engine.port(&name, HTTPS).await?;
    let endpoints = Endpoints {
        http: format!("http://{}", engine.port(&name, HTTP).await?),
        // The certificate is for names.
        https: https
            .rsplit_once(':')
            .map(|(_, port)| format!("https://localhost:{port}")),
        proxy: Some(format!("http://{}", engine.port(&name, PROXY).await?)),
        ca: Some(ca.clone()),
        admin: Some(admin),
        azure_tenant: AZURE_TENANT.to_owned(),
        gcp_key_file: None,
    };
    let inside = Endpoints {
        http: format!("https://{name}:{HTTPS}"),
        proxy: Some(format!("http://{name}:{PROXY}")),
        ca: Some(CA_PATH.into()),
        ..endpoints.clone()
    };
    let ca = std::fs::read(&ca).with_context(|| format!("reading {}", ca.display()))?;
    Ok(EmulatorContainer {
        container: name,
        endpoints,
        from_nodes: inside,
        ca,
    })
}

/// Polls until the admin port responds; if the container has exited, returns its log.
async fn wait_until_ready(engine: &Engine, name: &str, admin: &AdminClient) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let Err(error) = admin.keys().await else {
            return Ok(());
        };
        let running = engine
            .run(&["inspect", "--format", "{{.State.Running}}", name])
            .await?;
        if running.trim() != "true" || since.elapsed() > START_TIMEOUT {
            let log = engine.logs(name).await;
            return Err(anyhow::Error::from(error).context(format!(
                "the emulator in the container {name} does not answer; its log:\n{log}"
            )));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_name_is_a_host_name_for_the_longest_lab_name() {
        let longest = format!("kmslab-{}", "a".repeat(32));
        assert!(name(&longest).len() <= 63);
    }
}
