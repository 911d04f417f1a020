"""A key's life through Google's own Python SDK, over gRPC and over REST, by the vendor's own host names.

What it needs comes from the environment, as for any program: HTTPS_PROXY, REQUESTS_CA_BUNDLE and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH of the
emulator, GCE_METADATA_HOST and GCE_METADATA_IP for credentials, and KMSLAB_ADMIN to move the lab clock.
"""

import base64
import json
import os
import urllib.request

import google.auth
from google.api_core.exceptions import FailedPrecondition, GoogleAPICallError, InvalidArgument, NotFound, PermissionDenied
from google.auth.transport.requests import AuthorizedSession
from google.cloud import kms
from google.iam.v1 import policy_pb2
from google.oauth2 import service_account
from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

PROJECT = "projects/py"
LOCATION = f"{PROJECT}/locations/us-east1"
STATE = kms.CryptoKeyVersion.CryptoKeyVersionState
ROLE = "roles/cloudkms.cryptoKeyEncrypterDecrypter"


def refused(kind, words, call, *args, **more):
    """The call is refused with that exception of the SDK, and in those words of the service's."""
    try:
        call(*args, **more)
    except GoogleAPICallError as error:
        # Over REST the SDK goes by the HTTP status, and the service's own code is in the answer only.
        if error.response is not None and hasattr(error.response, "json"):
            status = error.response.json()["error"]["status"]
            assert isinstance(error, kind.__mro__[1]) and status == kind.grpc_status_code.name, (error, status)
        else:
            assert isinstance(error, kind), error
        assert words in error.message, error.message
        return error
    raise AssertionError(f"{call.__name__} was not refused")


def advance(time):
    request = urllib.request.Request(
        os.environ["KMSLAB_ADMIN"] + "/clock", data=json.dumps({"advance": time}).encode(), method="POST"
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()


def set_state(client, name, state):
    version = kms.CryptoKeyVersion(name=name, state=state)
    return client.update_crypto_key_version(
        crypto_key_version=version, update_mask=field_mask_pb2.FieldMask(paths=["state"])
    )


def life_cycle(client, ring_id):
    ring = client.create_key_ring(parent=LOCATION, key_ring_id=ring_id, key_ring=kms.KeyRing())
    purpose = kms.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT
    key = client.create_crypto_key(parent=ring.name, crypto_key_id="k", crypto_key=kms.CryptoKey(purpose=purpose))
    first = key.primary.name
    assert first == f"{key.name}/cryptoKeyVersions/1", first

    old = client.encrypt(name=key.name, plaintext=b"seed")
    assert (old.name, client.decrypt(name=key.name, ciphertext=old.ciphertext).plaintext) == (first, b"seed")

    second = client.create_crypto_key_version(parent=key.name, crypto_key_version=kms.CryptoKeyVersion()).name
    client.update_crypto_key_primary_version(name=key.name, crypto_key_version_id="2")
    assert client.encrypt(name=key.name, plaintext=b"seed").name == second
    opened = client.decrypt(name=key.name, ciphertext=old.ciphertext)
    assert opened.plaintext == b"seed" and not opened.used_primary
    refused(InvalidArgument, "", client.decrypt, name=key.name, ciphertext=old.ciphertext[:-1] + b"x")

    set_state(client, first, STATE.DISABLED)
    words = f"{first} is not enabled, current state is: DISABLED."
    error = refused(FailedPrecondition, words, client.decrypt, name=key.name, ciphertext=old.ciphertext)
    # A message over gRPC, JSON over REST.
    [failure] = [detail for detail in error.details if "violations" in str(detail)]
    assert "KEY_DISABLED" in str(failure) and first in str(failure), failure
    set_state(client, first, STATE.ENABLED)
    assert client.decrypt(name=key.name, ciphertext=old.ciphertext).plaintext == b"seed"

    assert client.destroy_crypto_key_version(name=first).state == STATE.DESTROY_SCHEDULED
    refused(FailedPrecondition, "DESTROY_SCHEDULED", client.decrypt, name=key.name, ciphertext=old.ciphertext)
    assert client.restore_crypto_key_version(name=first).state == STATE.DISABLED
    set_state(client, first, STATE.ENABLED)
    assert client.decrypt(name=key.name, ciphertext=old.ciphertext).plaintext == b"seed"

    names = [version.name for version in client.list_crypto_key_versions(request={"parent": key.name, "page_size": 1})]
    assert names == [first, second], names
    refused(NotFound, "not found", client.get_crypto_key, name=f"{ring.name}/cryptoKeys/none")
    return key.name


def schedule(client, key):
    """The guide's rotation, ninety days later; every client still gets in."""
    made = client.get_crypto_key(name=key).create_time
    key = kms.CryptoKey(
        name=key,
        rotation_period=duration_pb2.Duration(seconds=90 * 86400),
        next_rotation_time=timestamp_pb2.Timestamp(seconds=int(made.timestamp()) + 90 * 86400),
    )
    mask = field_mask_pb2.FieldMask(paths=["rotation_period", "next_rotation_time"])
    client.update_crypto_key(crypto_key=key, update_mask=mask)
    before = client.encrypt(name=key.name, plaintext=b"x")
    advance("90d")
    after = client.encrypt(name=key.name, plaintext=b"x")
    assert int(after.name.rsplit("/", 1)[1]) == int(before.name.rsplit("/", 1)[1]) + 1, after.name
    assert client.decrypt(name=key.name, ciphertext=before.ciphertext).plaintext == b"x"


def others(client, kinds):
    """Signatures and MACs."""
    ring = client.create_key_ring(parent=LOCATION, key_ring_id=kinds, key_ring=kms.KeyRing()).name
    algorithm = kms.CryptoKeyVersion.CryptoKeyVersionAlgorithm.HMAC_SHA256
    mac = client.create_crypto_key(
        parent=ring,
        crypto_key_id="mac",
        crypto_key=kms.CryptoKey(
            purpose=kms.CryptoKey.CryptoKeyPurpose.MAC,
            version_template=kms.CryptoKeyVersionTemplate(algorithm=algorithm),
        ),
    )
    version = f"{mac.name}/cryptoKeyVersions/1"
    tag = client.mac_sign(name=version, data=b"data").mac
    assert client.mac_verify(name=version, data=b"data", mac=tag).success
    assert not client.mac_verify(name=version, data=b"other", mac=tag).success
    random = client.generate_random_bytes(
        location=LOCATION, length_bytes=32, protection_level=kms.ProtectionLevel.HSM
    )
    assert len(random.data) == 32


def accounts(client, session, transport, key):
    """A service account by its key file: let in, told nothing, allowed what the guide's role allows."""
    name = f"py-{transport.replace('_', '-')}"
    email = f"{name}@py.iam.gserviceaccount.com"
    base = "https://iam.googleapis.com/v1/projects/py/serviceAccounts"
    made = session.post(base, json={"accountId": name})
    assert (made.status_code, made.json()["email"]) == (200, email), made.text
    made = session.post(f"{base}/{email}/keys", json={})
    assert made.status_code == 200, made.text
    info = json.loads(base64.b64decode(made.json()["privateKeyData"]))
    scopes = ["https://www.googleapis.com/auth/cloudkms"]
    credentials = service_account.Credentials.from_service_account_info(info, scopes=scopes)
    plugin = kms.KeyManagementServiceClient(credentials=credentials, transport=transport)
    words = f"Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource '{key}' (or it may not exist)."
    refused(PermissionDenied, words, plugin.encrypt, name=key, plaintext=b"x")
    policy = client.get_iam_policy(request={"resource": key})
    policy.bindings.append(policy_pb2.Binding(role=ROLE, members=[f"serviceAccount:{email}"]))
    client.set_iam_policy(request={"resource": key, "policy": policy})
    sealed = plugin.encrypt(name=key, plaintext=b"x").ciphertext
    assert plugin.decrypt(name=key, ciphertext=sealed).plaintext == b"x"
    refused(PermissionDenied, "cloudkms.cryptoKeys.get", plugin.get_crypto_key, name=key)


credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
assert project == "kmslab", project
for wire in ["grpc", "rest"]:
    wired = kms.KeyManagementServiceClient(credentials=credentials, transport=wire)
    made_key = life_cycle(wired, f"ring-{wire}")
    schedule(wired, made_key)
    others(wired, f"others-{wire}")
    accounts(wired, AuthorizedSession(credentials), wire, made_key)
    print(f"{wire} held")
print("all held")
