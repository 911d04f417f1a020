//! The admin port of a lab's emulator.

use anyhow::Context;
use kmslab_emulator_api::{AdminClient, Endpoints};

/// Client of the admin port of an emulator. Labs always have one.
pub fn admin_client(endpoints: &Endpoints) -> anyhow::Result<AdminClient> {
    let url = endpoints.admin.as_deref();
    let url = url.context("the emulator has no admin port, which a lab needs")?;
    Ok(AdminClient::new(url)?)
}
