//! What each cloud has that faults name: its operations and its error codes.

use kmslab_emulator_api::{Cloud, Effect, Fault, InvalidFault};

use crate::nearest::nearest;

/// Message of an `error=CODE` response. The vendors' texts depend on the cause, which an injected
/// error does not have.
pub(crate) const INJECTED: &str = "Injected by a fault of the kmslab emulator.";

/// The names of one cloud.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub(crate) cloud: Cloud,
    /// Operations, as in the request counts.
    pub(crate) operations: Vec<&'static str>,
    /// Codes that `error=CODE` accepts.
    pub(crate) codes: Vec<&'static str>,
}

/// Fails if a field has a value that no request can match, or names an operation or an error code
/// that the fault's cloud does not have.
pub(crate) fn validate(fault: &Fault, catalogs: &[Catalog]) -> Result<(), InvalidFault> {
    fault.validate()?;
    let catalogs = || {
        let of = |catalog: &&Catalog| fault.cloud.is_none_or(|cloud| cloud == catalog.cloud);
        catalogs.iter().filter(of)
    };
    let of = fault.cloud.map_or("any cloud", Cloud::as_str);
    if let Effect::Error { code } = &fault.effect {
        let known: Vec<&str> = catalogs()
            .flat_map(|catalog| catalog.codes.iter().copied())
            .collect();
        if !known.contains(&code.as_str()) {
            let known = known.join(", ");
            return Err(InvalidFault::new(
                "effect",
                format!("'{code}' is not an error code of {of}; there are {known}"),
            ));
        }
    }
    let known: Vec<&str> = catalogs()
        .flat_map(|catalog| catalog.operations.iter().copied())
        .collect();
    for operation in &fault.operations {
        if !known.contains(&operation.as_str()) {
            let remedy = match nearest(operation, &known) {
                Some(nearest) => format!("did you mean '{nearest}'?"),
                None => "`/requests` of the admin port lists those that were used".to_owned(),
            };
            return Err(InvalidFault::new(
                "operations",
                format!("'{operation}' is not an operation of {of}; {remedy}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogs() -> [Catalog; 2] {
        [
            Catalog {
                cloud: Cloud::Aws,
                operations: vec!["CreateKey", "Decrypt", "Encrypt"],
                codes: vec!["KMSInternalException"],
            },
            Catalog {
                cloud: Cloud::Azure,
                operations: vec!["KeyEncrypt", "KeyWrap"],
                codes: vec!["Throttled"],
            },
        ]
    }

    fn check(cloud: Option<Cloud>, effect: &str, operation: Option<&str>) -> Result<(), String> {
        let fault = Fault {
            cloud,
            operations: operation.into_iter().map(str::to_owned).collect(),
            ..Fault::new(effect.parse().unwrap())
        };
        validate(&fault, &catalogs()).map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_code_names_the_known_ones_of_its_cloud() {
        assert_eq!(check(None, "error=Throttled", None), Ok(()));
        assert_eq!(check(Some(Cloud::Azure), "error=Throttled", None), Ok(()));
        let error = check(Some(Cloud::Azure), "error=KMSInternalException", None).unwrap_err();
        assert!(
            error.contains("not an error code of azure; there are Throttled"),
            "{error}"
        );
        assert!(check(None, "error=Nothing", None).is_err());
    }

    #[test]
    fn unknown_operation_names_the_nearest_of_its_cloud() {
        assert_eq!(check(None, "hang", Some("KeyWrap")), Ok(()));
        for (cloud, operation, nearest) in [
            (Some(Cloud::Aws), "encrypt", "did you mean 'Encrypt'?"),
            (Some(Cloud::Azure), "encrypt", "did you mean 'KeyEncrypt'?"),
            (Some(Cloud::Azure), "wrapKey", "did you mean 'KeyWrap'?"),
            (Some(Cloud::Aws), "KeyWrap", "not an operation of aws"),
            (None, "Zzz", "`/requests` of the admin port"),
        ] {
            let error = check(cloud, "hang", Some(operation)).unwrap_err();
            assert!(error.contains(nearest), "{operation}: {error}");
        }
    }
}
