//! Which emulator a command talks to.

use clap::Args;
use kmslab_emulator_api::{AdminClient, AdminError};

use crate::exit::{environment, usage};
use crate::lab::{self, Description};

/// Admin port of `kmslab emulator` without flags.
const DEFAULT_ADMIN: &str = "http://127.0.0.1:7690";

/// The emulator of a lab, or that of an admin port. Without flags the only lab that is up, else the
/// emulator on its default port.
#[derive(Debug, Args)]
pub(super) struct EmulatorTarget {
    /// The emulator of this lab
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "emulator_admin"
    )]
    lab: Option<String>,
    /// Admin port of the emulator, such as http://127.0.0.1:7690
    #[arg(long, global = true, value_name = "URL")]
    emulator_admin: Option<String>,
}

impl EmulatorTarget {
    /// A client of the admin port.
    pub(super) fn client(&self) -> anyhow::Result<AdminClient> {
        Ok(AdminClient::new(self.url()?)?)
    }

    fn url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.emulator_admin {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let lab = self.lab()?;
        Ok(lab.map_or_else(|| DEFAULT_ADMIN.to_owned(), |lab| lab.kms.admin))
    }

    /// The lab whose emulator it is.
    pub(super) fn lab(&self) -> anyhow::Result<Option<Description>> {
        if self.emulator_admin.is_some() {
            return Ok(None);
        }
        match &self.lab {
            Some(name) => Description::find(name).map(Some),
            None => Ok(lab::only()?.map(|(_, lab)| lab)),
        }
    }
}

/// A rejected request is the user's fault; no response is the environment's.
pub(super) fn refused(error: AdminError) -> anyhow::Error {
    match error {
        AdminError::Rejected { message, .. } => {
            let body: serde_json::Value = serde_json::from_str(&message).unwrap_or_default();
            let stated = body["error"].as_str().map(str::to_owned);
            usage(stated.unwrap_or(message))
        }
        other => environment(format!(
            "{other}; name the emulator with --lab or --emulator-admin"
        )),
    }
}
