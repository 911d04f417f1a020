//! The image of kind's load balancer if envoy's cannot be pulled: the node image with kmslab's
//! [`super::balancer`] as `envoy`, for one lab, under the name that kind uses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::bundle::{BUNDLE_DIR, Bundle};
use crate::engine::{Engine, OwnedContainers};
use crate::process::shell_quote;

/// The image that kind 0.33 runs for several control planes.
const ENVOY_IMAGE: &str = "docker.io/envoyproxy/envoy:v1.36.2";

/// Ensures that the image exists; returns a notice if it is the replacement.
pub async fn ensure(
    engine: &Engine,
    node_image: &str,
    bundle: &Bundle,
    owned: &OwnedContainers,
    lab: &Path,
    offline: bool,
) -> anyhow::Result<Option<&'static str>> {
    if has_envoy(engine).await?
        || (!offline && engine.run(&["pull", "--quiet", ENVOY_IMAGE]).await.is_ok())
    {
        return Ok(None);
    }
    build(engine, node_image, bundle, owned, lab)
        .await
        .context("making an image in place of envoy's")?;
    Ok(Some(
        "envoy's image cannot be pulled: using kmslab's own TCP balancer",
    ))
}

/// Whether the image exists and is not another lab's replacement, which is removed with that lab.
async fn has_envoy(engine: &Engine) -> anyhow::Result<bool> {
    if !engine.has_image(ENVOY_IMAGE).await? {
        return Ok(false);
    }
    let format = format!("{{{{index .Config.Labels \"{}\"}}}}", crate::engine::LABEL);
    let lab = engine
        .run(&["image", "inspect", "--format", &format, ENVOY_IMAGE])
        .await?;
    Ok(lab.trim().is_empty() || lab.trim() == "<no value>")
}

async fn build(
    engine: &Engine,
    node_image: &str,
    bundle: &Bundle,
    owned: &OwnedContainers,
    lab: &Path,
) -> anyhow::Result<()> {
    let script = lab.join("envoy");
    let command: Vec<String> = bundle
        .command()
        .iter()
        .map(|word| shell_quote(word))
        .collect();
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nRUST_LOG=info exec {} balancer \"$@\"\n",
            command.join(" ")
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let label = owned.label();
    // The node's own stop signal is systemd's.
    let create = [
        "create",
        "--label",
        &label,
        "--network",
        "none",
        "--stop-signal",
        "SIGTERM",
        node_image,
    ];
    let container = engine.run(&create).await?;
    let container = container.trim();
    engine
        .run(&[
            "cp",
            &bundle.dir().display().to_string(),
            &format!("{container}:{BUNDLE_DIR}"),
        ])
        .await?;
    engine
        .run(&[
            "cp",
            &script.display().to_string(),
            &format!("{container}:/usr/local/bin/envoy"),
        ])
        .await?;
    // Runs its arguments: an empty entrypoint would not replace the node's own.
    let (label, entry) = (format!("LABEL {label}"), "ENTRYPOINT [\"/usr/bin/env\"]");
    engine
        .run(&[
            "commit",
            "--change",
            &label,
            "--change",
            entry,
            container,
            ENVOY_IMAGE,
        ])
        .await?;
    engine.run(&["rm", "--volumes", container]).await.map(drop)
}
