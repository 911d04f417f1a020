//! Faults of a run: added to the emulator before a scenario and removed after it.

use kmslab_emulator_api::{Fault, FaultFile, FaultTable};

use super::Environment;
use crate::cloud::Cloud;

impl Environment {
    /// Adds the faults that are for a cloud of this environment to the emulator, and returns their
    /// names. Those without a caller are for the plugin's requests, so that what the run itself
    /// asks of the cloud succeeds.
    pub async fn add_faults(&self, file: &FaultFile) -> anyhow::Result<Vec<String>> {
        let faults = file.faults.iter().filter_map(|fault| {
            let cloud = self.cloud_of(fault)?;
            let caller = fault.caller.clone();
            Some(Fault {
                caller: caller.or_else(|| Some(cloud.plugin_caller().to_owned())),
                ..fault.clone()
            })
        });
        let file = FaultFile {
            seed: file.seed,
            faults: faults.collect(),
        };
        Ok(self.cloud.admin().add_faults(&file).await?)
    }

    /// Removes the faults of these names, and returns them with their hits.
    pub async fn take_faults(&self, names: &[String]) -> anyhow::Result<FaultTable> {
        let admin = self.cloud.admin();
        let mut table = admin.faults().await?;
        table
            .faults
            .retain(|status| names.iter().any(|name| name == status.name()));
        for status in &table.faults {
            admin.remove_fault(status.name()).await?;
        }
        Ok(table)
    }

    /// The cloud that a fault is for: the first one, if the fault names none.
    fn cloud_of(&self, fault: &Fault) -> Option<&dyn Cloud> {
        let target = self.target.as_ref().map(|target| &target.cloud);
        let mut clouds = std::iter::once(&self.cloud).chain(target);
        let found = clouds.find(|cloud| fault.cloud.is_none_or(|of| of == cloud.kind().emulated()));
        found.map(AsRef::as_ref)
    }
}
