//! The emulator in a container of its own, beside kind's nodes, which reach it by name over TLS.

use std::time::Duration;

use anyhow::Context as _;
use kmslab_emulator::azure::identity::DEFAULT_TENANT;
use tokio::time::Instant;

use crate::cloud::{self, Admin, Reach};
use crate::cluster::kind::bundle::Bundle;
use crate::cluster::kind::files::CA;
use crate::engine::{Engine, Owned};
use crate::runtime_dir::RuntimeDir;

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Ports in the container: those of `kmslab emulator` by default.
const HTTP: u16 = 7600;
const HTTPS: u16 = 7643;
const PROXY: u16 = 7680;
const ADMIN: u16 = 7690;
/// In the container: where the emulator keeps its CA, and who may call.
const TLS_DIR: &str = "/tmp/tls";
const SEED: &str = "/tmp/seed.json";

/// It runs, and ends with the lab's network.
pub(super) struct EmulatorContainer {
    /// The container's name.
    pub(super) container: String,
    /// As this machine reaches it.
    pub(super) reach: Reach,
    /// As a node reaches it, by name and over TLS.
    pub(super) inside: Reach,
    /// The CA's certificate, PEM.
    pub(super) ca: Vec<u8>,
}

/// What the container is called, and its name on the network.
pub(super) fn name(network: &str) -> String {
    format!("{network}-emulator")
}

pub(super) async fn start(
    engine: &Engine,
    bundle: &Bundle,
    network: &str,
    owned: &Owned,
    dir: &RuntimeDir,
) -> anyhow::Result<EmulatorContainer> {
    let (name, label) = (name(network), owned.label());
    // The lab's own, by its label, so that it goes with the lab.
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
    // By copy and not as a flag: everybody who may use the engine can read those.
    let seed = cloud::seed();
    let seed = dir.write_private("emulator-seed.json", seed.to_string().as_bytes())?;
    engine
        .run(&["cp", &seed.display().to_string(), &format!("{name}:{SEED}")])
        .await?;
    engine.run(&["start", &name]).await?;

    let admin = format!("http://{}", engine.port(&name, ADMIN).await?);
    answers(engine, &name, &Admin::new(&admin)?).await?;
    let ca = dir.file("emulator-ca.pem");
    engine
        .run(&[
            "cp",
            &format!("{name}:{TLS_DIR}/ca.pem"),
            &ca.display().to_string(),
        ])
        .await?;
    let https = engine.port(&name, HTTPS).await?;
    let reach = Reach {
        http: format!("http://{}", engine.port(&name, HTTP).await?),
        // The certificate is for names.
        https: https
            .rsplit_once(':')
            .map(|(_, port)| format!("https://localhost:{port}")),
        proxy: Some(format!("http://{}", engine.port(&name, PROXY).await?)),
        ca: Some(ca.clone()),
        admin,
        azure_tenant: DEFAULT_TENANT.to_owned(),
    };
    let inside = Reach {
        http: format!("https://{name}:{HTTPS}"),
        proxy: Some(format!("http://{name}:{PROXY}")),
        ca: Some(CA.into()),
        ..reach.clone()
    };
    let ca = std::fs::read(&ca).with_context(|| format!("reading {}", ca.display()))?;
    Ok(EmulatorContainer {
        container: name,
        reach,
        inside,
        ca,
    })
}

/// Asks until the admin port answers; a container that has ended says why in its log.
async fn answers(engine: &Engine, name: &str, admin: &Admin) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let Err(error) = admin.keys().await else {
            return Ok(());
        };
        let running = engine
            .run(&["inspect", "--format", "{{.State.Running}}", name])
            .await?;
        if running.trim() != "true" || since.elapsed() > PATIENCE {
            let log = engine.logs(name).await;
            return Err(error.context(format!(
                "the emulator in the container {name} does not answer; its log:\n{log}"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_name_is_a_host_name_for_the_longest_lab() {
        let longest = format!("kmslab-{}", "a".repeat(32));
        assert!(name(&longest).len() <= 63);
    }
}
