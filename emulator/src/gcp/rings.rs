//! Key rings and locations.

use kmslab_googleapis::google::cloud::location::{
    GetLocationRequest, ListLocationsRequest, ListLocationsResponse, Location as Shown,
};
use kmslab_googleapis::kms;

use super::auth::Caller;
use super::names::{Location, RingName, is_id};
use super::page::{PageRequest, page};
use super::{Gcp, GcpError, wire};

/// Locations in lists. Every well-formed location can be used.
const LOCATIONS: &[&str] = &[
    "global",
    "us",
    "eu",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
    "europe-west1",
    "europe-west3",
    "asia-east1",
];

pub(crate) fn list(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::ListKeyRingsRequest,
) -> Result<kms::ListKeyRingsResponse, GcpError> {
    let location = parse_location(&request.parent)?;
    gcp.allow(caller, "cloudkms.keyRings.list", &request.parent)?;
    let rings = gcp
        .all_rings()
        .into_iter()
        .filter(|(name, _)| name.location == location);
    let rings = rings
        .map(|(name, created)| to_proto(&name, created))
        .collect();
    let page = page(
        rings,
        PageRequest {
            size: request.page_size,
            token: &request.page_token,
            filter: &request.filter,
            order_by: &request.order_by,
        },
    )?;
    Ok(kms::ListKeyRingsResponse {
        key_rings: page.items,
        next_page_token: page.next,
        total_size: page.total,
    })
}

pub(crate) fn get(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::GetKeyRingRequest,
) -> Result<kms::KeyRing, GcpError> {
    let name = parse_ring(&request.name)?;
    gcp.allow(caller, "cloudkms.keyRings.get", &request.name)?;
    Ok(to_proto(&name, gcp.ring(&name)?))
}

pub(crate) fn create(
    gcp: &Gcp,
    caller: &Caller,
    request: kms::CreateKeyRingRequest,
) -> Result<kms::KeyRing, GcpError> {
    let location = parse_location(&request.parent)?;
    if !is_id(&request.key_ring_id) {
        return Err(invalid_id("key_ring_id", &request.key_ring_id));
    }
    gcp.allow(caller, "cloudkms.keyRings.create", &request.parent)?;
    let name = RingName {
        location,
        ring: request.key_ring_id,
    };
    let created = gcp.add_ring(&name)?;
    Ok(to_proto(&name, created))
}

pub(crate) fn locations(
    gcp: &Gcp,
    caller: &Caller,
    request: ListLocationsRequest,
) -> Result<ListLocationsResponse, GcpError> {
    let project = request
        .name
        .strip_prefix("projects/")
        .filter(|project| !project.is_empty());
    let project = project.ok_or_else(|| GcpError::bad_name(&request.name, "project"))?;
    gcp.allow(caller, "cloudkms.locations.list", &request.name)?;
    let all = LOCATIONS
        .iter()
        .map(|location| location_to_proto(project, location))
        .collect();
    let requested = PageRequest {
        size: request.page_size,
        token: &request.page_token,
        filter: &request.filter,
        order_by: "",
    };
    let page = page(all, requested)?;
    Ok(ListLocationsResponse {
        locations: page.items,
        next_page_token: page.next,
    })
}

pub(crate) fn get_location(
    gcp: &Gcp,
    caller: &Caller,
    request: GetLocationRequest,
) -> Result<Shown, GcpError> {
    let name = parse_location(&request.name)?;
    gcp.allow(caller, "cloudkms.locations.get", &request.name)?;
    Ok(location_to_proto(&name.project, &name.location))
}

fn location_to_proto(project: &str, location: &str) -> Shown {
    Shown {
        name: format!("projects/{project}/locations/{location}"),
        location_id: location.to_owned(),
        labels: [(
            "cloud.googleapis.com/region".to_owned(),
            location.to_owned(),
        )]
        .into(),
        ..Shown::default()
    }
}

fn to_proto(name: &RingName, created: jiff::Timestamp) -> kms::KeyRing {
    kms::KeyRing {
        name: name.to_string(),
        create_time: Some(wire::to_proto_timestamp(created)),
    }
}

/// Parses the name of a location.
pub(crate) fn parse_location(name: &str) -> Result<Location, GcpError> {
    Location::parse(name).ok_or_else(|| GcpError::bad_name(name, "location"))
}

/// Parses the name of a key ring.
pub(crate) fn parse_ring(name: &str) -> Result<RingName, GcpError> {
    RingName::parse(name).ok_or_else(|| GcpError::bad_name(name, "KeyRing"))
}

/// An id that is not allowed.
pub(crate) fn invalid_id(field: &str, id: &str) -> GcpError {
    GcpError::bad_field(
        field,
        format!("Invalid {field} [{id}]: it must match [a-zA-Z0-9_-]{{1,63}}."),
    )
}
