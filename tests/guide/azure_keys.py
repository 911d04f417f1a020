"""A key's life through Microsoft's own Python SDK, with its checks of the challenge and of names left on.

What it needs comes from the environment, as for any program: HTTPS_PROXY and REQUESTS_CA_BUNDLE of the emulator, AZURE_TENANT_ID,
AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, VAULT_URL, and KMSLAB_ADMIN to move the lab clock.
"""

import json
import os
import time
import urllib.request

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential
from azure.keyvault.keys import KeyClient, KeyCurveName, KeyRotationLifetimeAction, KeyRotationPolicy
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from azure.keyvault.keys import JsonWebKey, KeyType

VAULT = os.environ["VAULT_URL"]


def refused(kind, status, code, call, *args, **more):
    """The call is refused with that exception of the SDK, and with that code of the service's."""
    try:
        call(*args, **more)
    except kind as error:
        inner = getattr(error.error, "innererror", None) or {}
        codes = [getattr(error.error, "code", None), inner.get("code")]
        assert error.status_code == status and code in codes, (error.status_code, codes, error.message)
        return error
    raise AssertionError(f"{call.__name__} was not refused")


def life_cycle(client, credential):
    key = client.create_rsa_key("py-rsa", size=2048)
    assert key.id == f"{VAULT}/keys/py-rsa/{key.properties.version}", key.id
    assert key.key_operations == ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
    old = CryptographyClient(key, credential)
    wrapped = old.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"seed")
    assert wrapped.key_id == key.id

    rotated = client.rotate_key("py-rsa")
    assert rotated.properties.version != key.properties.version
    assert client.get_key("py-rsa").id == rotated.id
    assert old.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key == b"seed"
    new = CryptographyClient(rotated, credential)
    refused(HttpResponseError, 400, "BadParameter", new.unwrap_key, KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key)
    print("used, rotated, old one used")

    # The SDK keeps what it knows of a key, so a new client asks anew.
    client.update_key_properties("py-rsa", key.properties.version, enabled=False)
    asking = CryptographyClient(key.id, credential)
    refused(HttpResponseError, 403, "KeyDisabled", asking.unwrap_key, KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key)
    client.update_key_properties("py-rsa", key.properties.version, enabled=True, tags={"team": "blue"})
    assert client.get_key("py-rsa", key.properties.version).properties.tags == {"team": "blue"}
    assert asking.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key == b"seed"
    print("disabled, enabled")

    deleted = client.begin_delete_key("py-rsa").result()
    assert deleted.recovery_id == f"{VAULT}/deletedkeys/py-rsa"
    assert (deleted.scheduled_purge_date - deleted.deleted_date).days == deleted.properties.recoverable_days
    refused(ResourceNotFoundError, 404, "KeyNotFound", client.get_key, "py-rsa")
    refused(ResourceExistsError, 409, "ObjectIsDeletedButRecoverable", client.create_rsa_key, "py-rsa")
    assert [key.name for key in client.list_deleted_keys()] == ["py-rsa"]
    client.begin_recover_deleted_key("py-rsa").wait()
    assert old.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key == b"seed"
    backup = client.backup_key("py-rsa")
    client.begin_delete_key("py-rsa").wait()
    client.purge_deleted_key("py-rsa")
    refused(ResourceNotFoundError, 404, "KeyNotFound", client.get_deleted_key, "py-rsa")
    assert client.restore_key_backup(backup).id == rotated.id
    assert len(list(client.list_properties_of_key_versions("py-rsa"))) == 2
    print("deleted, recovered, purged, restored")


def kinds(client, credential):
    for curve, algorithm, size in [
        (KeyCurveName.p_256, SignatureAlgorithm.es256, 32),
        (KeyCurveName.p_384, SignatureAlgorithm.es384, 48),
        (KeyCurveName.p_521, SignatureAlgorithm.es512, 64),
        (KeyCurveName.p_256_k, SignatureAlgorithm.es256_k, 32),
    ]:
        key = client.create_ec_key(f"py-{curve.value}", curve=curve)
        crypto = CryptographyClient(key, credential)
        digest = bytes(range(size))
        signature = crypto.sign(algorithm, digest).signature
        # By the SDK's own mathematics, from the public key of the bundle.
        local = CryptographyClient.from_jwk(key.key)
        assert local.verify(algorithm, digest, signature).is_valid, curve
        assert not local.verify(algorithm, bytes(size), signature).is_valid, curve

    made = client.create_rsa_key("py-both", size=3072)
    remote, local = CryptographyClient(made.id, credential), CryptographyClient.from_jwk(made.key)
    for algorithm in [EncryptionAlgorithm.rsa1_5, EncryptionAlgorithm.rsa_oaep, EncryptionAlgorithm.rsa_oaep_256]:
        sealed = local.encrypt(algorithm, b"m").ciphertext
        assert remote.decrypt(algorithm, sealed).plaintext == b"m", algorithm
    for algorithm in [SignatureAlgorithm.ps256, SignatureAlgorithm.ps512, SignatureAlgorithm.rs256, SignatureAlgorithm.rs512]:
        digest = bytes(64 if algorithm.value.endswith("512") else 32)
        assert local.verify(algorithm, digest, remote.sign(algorithm, digest).signature).is_valid, algorithm

    oct = client.create_oct_key("py-oct", size=256, hardware_protected=True)
    crypto = CryptographyClient(oct.id, credential)
    sealed = crypto.encrypt(EncryptionAlgorithm.a256_gcm, b"m", additional_authenticated_data=b"aad")
    opened = crypto.decrypt(
        EncryptionAlgorithm.a256_gcm,
        sealed.ciphertext,
        iv=sealed.iv,
        authentication_tag=sealed.tag,
        additional_authenticated_data=b"aad",
    )
    assert opened.plaintext == b"m"
    sealed = crypto.encrypt(EncryptionAlgorithm.a256_cbcpad, b"not a block", iv=bytes(16))
    assert crypto.decrypt(EncryptionAlgorithm.a256_cbcpad, sealed.ciphertext, iv=bytes(16)).plaintext == b"not a block"
    wrapped = crypto.wrap_key(KeyWrapAlgorithm.aes_256, bytes(32))
    assert crypto.unwrap_key(KeyWrapAlgorithm.aes_256, wrapped.encrypted_key).key == bytes(32)
    assert len(client.get_random_bytes(count=32)) == 32
    print("RSA, EC, oct")


def imported(client, credential):
    number = lambda n: n.to_bytes((n.bit_length() + 7) // 8, "big")
    private = rsa.generate_private_key(65537, 2048).private_numbers()
    jwk = JsonWebKey(
        kty=KeyType.rsa,
        key_ops=["encrypt", "decrypt"],
        n=number(private.public_numbers.n),
        e=number(private.public_numbers.e),
        d=number(private.d),
        p=number(private.p),
        q=number(private.q),
        dp=number(private.dmp1),
        dq=number(private.dmq1),
        qi=number(private.iqmp),
    )
    key = client.import_key("py-imported", jwk)
    assert key.key.n == jwk.n and key.key_operations == ["encrypt", "decrypt"]
    local = CryptographyClient.from_jwk(key.key)
    sealed = local.encrypt(EncryptionAlgorithm.rsa_oaep_256, b"m").ciphertext
    opened = CryptographyClient(key.id, credential).decrypt(EncryptionAlgorithm.rsa_oaep_256, sealed)
    assert opened.plaintext == b"m"
    jwk.d = jwk.p
    refused(HttpResponseError, 400, "BadParameter", client.import_key, "py-broken", jwk)
    print("imported")


def policy(client):
    client.create_rsa_key("py-policy", size=2048)
    assert client.get_key_rotation_policy("py-policy").lifetime_actions[0].action == "Notify"
    guide = KeyRotationPolicy(
        lifetime_actions=[KeyRotationLifetimeAction("Rotate", time_after_create="P90D")], expires_in="P1Y"
    )
    kept = client.update_key_rotation_policy("py-policy", guide)
    assert kept.lifetime_actions[0].time_after_create == "P90D" and kept.expires_in == "P1Y"
    admin = urllib.request.Request(
        os.environ["KMSLAB_ADMIN"] + "/clock", data=json.dumps({"advance": "90d"}).encode(), method="POST"
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(admin).read()
    versions = list(client.list_properties_of_key_versions("py-policy"))
    assert len(versions) == 2, versions
    print("rotated by its policy")


def logins():
    tenant, client_id = os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"]
    wrong = ClientSecretCredential(tenant, client_id, "not-the-secret")
    try:
        wrong.get_token("https://vault.azure.net/.default")
        raise AssertionError("a wrong secret was taken")
    except Exception as error:
        assert "AADSTS7000215" in str(error), error
    token = EnvironmentCredential().get_token("https://vault.azure.net/.default")
    assert token.expires_on > time.time()
    print("logged in, refused")


if __name__ == "__main__":
    logins()
    credential = DefaultAzureCredential()
    with KeyClient(VAULT, credential) as client:
        life_cycle(client, credential)
        kinds(client, credential)
        imported(client, credential)
        policy(client)
        page = client.list_properties_of_keys(max_page_size=2)
        assert len({key.name for key in page}) == len(list(client.list_properties_of_keys())) > 5
    print("all held")
