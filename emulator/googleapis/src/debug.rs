//! `Debug` of messages that contain plaintext: only their names.

use std::fmt;

use crate::kms;

macro_rules! named_only {
    ($($message:ident),*) => {
        $(impl fmt::Debug for kms::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        })*
    };
}

named_only!(
    EncryptRequest,
    DecryptResponse,
    RawEncryptRequest,
    RawDecryptResponse,
    AsymmetricDecryptResponse,
    AsymmetricSignRequest,
    MacSignRequest,
    MacVerifyRequest,
    GenerateRandomBytesResponse,
    DecapsulateResponse
);
