//! The image of kind's load balancer, where envoy's can't be pulled: the node image with kmslab's
//! [`super::balancer`] as `envoy`, for one lab, under the name that kind asks for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::bundle::{Bundle, HOME};
use crate::engine::{Engine, Owned};
use crate::process::quoted;

/// What kind 0.33 runs before several control planes.
const ENVOY: &str = "docker.io/envoyproxy/envoy:v1.36.2";

/// Sees to it that the image is there; what is said where it is the stand-in.
pub async fn balancer_image(
    engine: &Engine,
    node_image: &str,
    bundle: &Bundle,
    owned: &Owned,
    lab: &Path,
    offline: bool,
) -> anyhow::Result<Option<&'static str>> {
    if is_the_real_one(engine).await?
        || (!offline && engine.run(&["pull", "--quiet", ENVOY]).await.is_ok())
    {
        return Ok(None);
    }
    make(engine, node_image, bundle, owned, lab)
        .await
        .context("making an image in place of envoy's")?;
    Ok(Some(
        "envoy's image can't be pulled: kmslab's own TCP balancer takes its place",
    ))
}

/// Whether the image is there, and not another lab's stand-in, which goes with that lab.
async fn is_the_real_one(engine: &Engine) -> anyhow::Result<bool> {
    if !engine.has_image(ENVOY).await? {
        return Ok(false);
    }
    let format = format!("{{{{index .Config.Labels \"{}\"}}}}", crate::engine::LABEL);
    let lab = engine
        .run(&["image", "inspect", "--format", &format, ENVOY])
        .await?;
    Ok(lab.trim().is_empty() || lab.trim() == "<no value>")
}

async fn make(
    engine: &Engine,
    node_image: &str,
    bundle: &Bundle,
    owned: &Owned,
    lab: &Path,
) -> anyhow::Result<()> {
    let script = lab.join("envoy");
    let command: Vec<String> = bundle.command().iter().map(|word| quoted(word)).collect();
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nRUST_LOG=info exec {} balancer \"$@\"\n",
            command.join(" ")
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let label = owned.label();
    // The node's own signal to end by is systemd's.
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
            &format!("{container}:{HOME}"),
        ])
        .await?;
    engine
        .run(&[
            "cp",
            &script.display().to_string(),
            &format!("{container}:/usr/local/bin/envoy"),
        ])
        .await?;
    // Runs what it is given: an empty one would not take the node's own away.
    let (label, entry) = (format!("LABEL {label}"), "ENTRYPOINT [\"/usr/bin/env\"]");
    engine
        .run(&[
            "commit", "--change", &label, "--change", entry, container, ENVOY,
        ])
        .await?;
    engine.run(&["rm", "--volumes", container]).await.map(drop)
}
