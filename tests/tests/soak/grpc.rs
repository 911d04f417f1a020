//! gRPC calls whose messages are similar to those that clients send.

use bytes::{Buf as _, BufMut as _};
use fastrand::Rng;
use kmslab_googleapis::descriptors;
use kmslab_googleapis::kms::crypto_key::CryptoKeyPurpose;
use kmslab_googleapis::kms::{CreateCryptoKeyRequest, CreateKeyRingRequest, CryptoKey, KeyRing};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};

use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::program::Emulator;
use crate::requests::mutate;

const SERVICE: &str = "google.cloud.kms.v1.KeyManagementService";
const TEXTS: &[&str] = &[
    "projects/p",
    "projects/p/locations/global",
    "projects/p/locations/global/keyRings/r",
    "projects/p/locations/global/keyRings/r/cryptoKeys/k",
    "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
    "projects/p/locations/global/keyRings/r/importJobs/j",
    "projects/../../x",
    "r",
    "k",
    "name desc",
    "",
    "\u{0}\u{202e}",
];

/// Depth of nested messages.
const DEPTH: usize = 2;

/// A message of that type with some of its fields set.
fn message(of: &MessageDescriptor, random: &mut Rng, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        let needed = depth == DEPTH && ["parent", "name"].contains(&field.name());
        if field.is_map() || (!needed && random.u8(0..4) > 0) {
            continue;
        }
        let value = match field.kind() {
            // Requests mostly name existing resources.
            Kind::String if depth == DEPTH && ["parent", "name"].contains(&field.name()) => {
                Value::String(TEXTS[random.usize(1..5)].to_owned())
            }
            Kind::String => Value::String(TEXTS[random.usize(..TEXTS.len())].to_owned()),
            Kind::Bytes => {
                let length = random.usize(..200);
                Value::Bytes(
                    std::iter::repeat_with(|| random.u8(..))
                        .take(length)
                        .collect::<Vec<_>>()
                        .into(),
                )
            }
            Kind::Bool => Value::Bool(random.bool()),
            Kind::Enum(of) => {
                Value::EnumNumber(random.choice(of.values()).map_or(0, |value| value.number()))
            }
            Kind::Int32 => Value::I32(random.i32(..)),
            Kind::Int64 => Value::I64(random.i64(..)),
            Kind::Message(of) if depth > 0 => Value::Message(self::message(&of, random, depth - 1)),
            _ => continue,
        };
        let value = if field.is_list() {
            Value::List(vec![value])
        } else {
            value
        };
        message.set_field(&field, value);
    }
    message
}

/// Messages as they are on the wire.
#[derive(Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

async fn call(channel: &Channel, method: &str, token: &str, message: Vec<u8>) -> Code {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = tonic::Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    let path = format!("/{SERVICE}/{method}").parse().unwrap();
    client
        .unary(request, path, Raw)
        .await
        .map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn soak(count: usize) {
    let emulator = Emulator::start(&[]).await;
    let token = emulator.google_token().await;
    let channel = Channel::from_shared(format!("http://{}", emulator.http))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let service = descriptors().get_service_by_name(SERVICE).unwrap();
    let methods: Vec<_> = service.methods().collect();
    let ring = CreateKeyRingRequest {
        parent: TEXTS[1].to_owned(),
        key_ring_id: "r".to_owned(),
        key_ring: Some(KeyRing::default()),
    };
    assert_eq!(
        call(&channel, "CreateKeyRing", &token, ring.encode_to_vec()).await,
        Code::Ok
    );
    let purpose = CryptoKeyPurpose::EncryptDecrypt.into();
    let key = CreateCryptoKeyRequest {
        parent: TEXTS[2].to_owned(),
        crypto_key_id: "k".to_owned(),
        crypto_key: Some(CryptoKey {
            purpose,
            ..CryptoKey::default()
        }),
        ..CreateCryptoKeyRequest::default()
    };
    assert_eq!(
        call(&channel, "CreateCryptoKey", &token, key.encode_to_vec()).await,
        Code::Ok
    );
    let mut random = Rng::with_seed(7);
    let (mut answered, mut before) = (0, 0);
    for number in 0..count {
        if number == count / 10 {
            before = emulator.program.memory();
        }
        let method = &methods[number % methods.len()];
        let mut bytes = message(&method.input(), &mut random, DEPTH).encode_to_vec();
        if random.u8(0..5) == 0 {
            mutate(&mut random, &mut bytes);
        }
        let code = call(&channel, method.name(), &token, bytes.clone()).await;
        // Bytes that do not decode are INTERNAL in gRPC; any other internal error would be the
        // service's own.
        let is_message = DynamicMessage::decode(method.input(), bytes.as_slice()).is_ok();
        let failed = match code {
            Code::Internal => is_message,
            code => matches!(code, Code::Unknown | Code::DataLoss | Code::Unavailable),
        };
        assert!(!failed, "{code} for {} {bytes:?}", method.name());
        answered += usize::from(code == Code::Ok);
        if number % 1000 == 999 {
            emulator.admin("GET", "/healthz").await;
        }
    }
    assert!(
        answered * 50 > count,
        "{answered} of {count} calls were answered"
    );
    let after = emulator.program.memory();
    println!("{count} calls, {answered} answered: {before} MiB, then {after} MiB");
    emulator.program.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_grpc_calls_never_cause_an_internal_error() {
    soak(1_500).await;
}

#[ignore = "tier soak: takes minutes; just soak"]
#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_grpc_calls_of_64_000_never_cause_an_internal_error() {
    soak(64_000).await;
}
