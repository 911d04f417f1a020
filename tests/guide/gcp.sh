# The guide's steps for Google Cloud KMS. gcloud is in no package registry, so each of its commands stands here as the request that it
# makes, with curl. Above each: the command, and the file of gcloud's own public source (google-cloud-sdk, below lib/) that says so; what is
# inferred is said to be. tests/tests/guide.rs runs it under `bash -euo pipefail` in an empty directory, with kmslab in PATH; a step that
# does not hold ends it.

step() { printf '\n== %s\n' "$*" >&2; }
# The value of a field in JSON: field FILE NAME...
field() { python3 -c 'import json,sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2:]: value = value[int(name) if isinstance(value, list) else name]
print(value)' "$@"; }
# One request of gcloud's, by the vendor's own host names through the emulator's proxy: call METHOD URL [BODY], its answer in answer.json.
call() {
  local method=$1 url=$2 body=${3-}
  status=$(curl --silent --show-error --output answer.json --write-out '%{http_code}' --request "$method" "$url" \
    --header "authorization: Bearer $token" --header 'content-type: application/json' ${body:+--data "$body"})
  test "$status" = 200
}
# A request that must be refused with that status: refused STATUS WORDS METHOD URL [BODY].
refused() {
  local wanted=$1 words=$2
  shift 2
  if call "$@" || test "$status" != "$wanted"; then
    echo "HTTP $status: $*" >&2
    return 1
  fi
  grep -qF "$words" answer.json || { cat answer.json >&2; return 1; }
}
kms=https://cloudkms.googleapis.com/v1
iam=https://iam.googleapis.com/v1
project=projects/my-project
location=$project/locations/us-east1

step "an emulator in place of the cloud, by the cloud's own names"
kmslab emulator --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --proxy-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >emulator.env &
until grep -q AZURE_CLIENT_SECRET emulator.env; do sleep 0.05; done
. ./emulator.env
export https_proxy=http://127.0.0.1:1 GOOGLE_APPLICATION_CREDENTIALS=/nonexistent
eval "$(kmslab env --for curl --emulator-admin "$KMSLAB_ADMIN")"
# What gcloud does on a machine of Google's: googlecloudsdk/core/credentials/gce.py.
metadata=http://$GCE_METADATA_HOST/computeMetadata/v1/instance/service-accounts/default/token
curl --silent --fail --header 'Metadata-Flavor: Google' "$metadata" >token.json
token=wrong
refused 401 UNAUTHENTICATED GET "$kms/$location/keyRings"
token=$(field token.json access_token)

step "a key ring, a key"
# gcloud kms keyrings create k8s-secrets --location us-east1: surface/kms/keyrings/create.py
call POST "$kms/$location/keyRings?keyRingId=k8s-secrets" '{}'
ring=$location/keyRings/k8s-secrets
test "$(field answer.json name)" = "$ring"
refused 409 ALREADY_EXISTS POST "$kms/$location/keyRings?keyRingId=k8s-secrets" '{}'
# gcloud kms keys create k8s-secrets-key --keyring k8s-secrets --location us-east1 --purpose encryption: surface/kms/keys/create.py
call POST "$kms/$ring/cryptoKeys?cryptoKeyId=k8s-secrets-key" '{"purpose":"ENCRYPT_DECRYPT"}'
key=$ring/cryptoKeys/k8s-secrets-key
test "$(field answer.json primary name)" = "$key/cryptoKeyVersions/1"

step "a service account, its role, and its key file"
# gcloud iam service-accounts create k8s-kms --display-name "Kubernetes KMS": surface/iam/service_accounts/create.py
call POST "$iam/$project/serviceAccounts" '{"accountId":"k8s-kms","serviceAccount":{"displayName":"Kubernetes KMS"}}'
account=$(field answer.json email)
test "$account" = k8s-kms@my-project.iam.gserviceaccount.com
# gcloud iam service-accounts keys create key.json --iam-account ACCOUNT: surface/iam/service_accounts/keys/create.py; that the account is
# named below projects/- is of command_lib/iam/iam_util.py.
call POST "$iam/projects/-/serviceAccounts/$account/keys" '{"privateKeyType":"TYPE_GOOGLE_CREDENTIALS_FILE"}'
(umask 077; field answer.json privateKeyData | base64 --decode >key.json)
test "$(field key.json client_email)" = "$account"

step "the plugin, as that account, which may not use the key yet"
GOOGLE_APPLICATION_CREDENTIALS=$PWD/key.json kmslab plugin gcp --key-uri="$key" --probe-interval=1s --listen="$PWD/kms.sock" 2>plugin.log &
until grep -q "cloudkms.cryptoKeyVersions.useToEncrypt' denied" plugin.log; do sleep 0.1; done
# gcloud kms keys add-iam-policy-binding …: api_lib/cloudkms/iam.py, which reads the policy, adds to it, and writes it back by its etag
call GET "$kms/$key:getIamPolicy?options.requestedPolicyVersion=3"
etag=$(python3 -c 'import json; print(json.load(open("answer.json")).get("etag", ""))')
binding='{"role":"roles/cloudkms.cryptoKeyEncrypterDecrypter","members":["serviceAccount:'$account'"]}'
policy='{"policy":{"bindings":['$binding'],"etag":"'$etag'","version":3},"updateMask":"bindings,etag,version"}'
call POST "$kms/$key:setIamPolicy" "$policy"
# Once more by the same etag: somebody was faster.
refused 409 ABORTED POST "$kms/$key:setIamPolicy" "$policy"
until grep -q 'the key is usable' plugin.log; do sleep 0.1; done

step "the account may use the key, and nothing else"
curl --silent --fail --output token.json https://oauth2.googleapis.com/token --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer \
  --data-urlencode "assertion=$(python3 - <<'END'
import base64, json, subprocess, time

def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

key = json.load(open("key.json"))
now = int(time.time())
claims = {"iss": key["client_email"], "scope": "https://www.googleapis.com/auth/cloud-platform", "aud": key["token_uri"], "iat": now, "exp": now + 3600}
signed = part(b'{"alg":"RS256","typ":"JWT","kid":"%s"}' % key["private_key_id"].encode()) + "." + part(json.dumps(claims).encode())
with open("key.pem", "w") as pem:
    pem.write(key["private_key"])
signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", "key.pem"], input=signed.encode(), capture_output=True, check=True)
print(signed + "." + part(signature.stdout))
END
)"
owner=$token token=$(field token.json access_token)
# gcloud kms encrypt …: surface/kms/encrypt.py; its checksums are left out here.
call POST "$kms/$key:encrypt" "{\"plaintext\":\"$(printf s3cret | base64)\"}"
test "$(field answer.json name)" = "$key/cryptoKeyVersions/1"
sealed=$(field answer.json ciphertext)
call POST "$kms/$key:decrypt" "{\"ciphertext\":\"$sealed\"}"
test "$(field answer.json plaintext | base64 --decode)" = s3cret
refused 403 "Permission 'cloudkms.cryptoKeys.get' denied" GET "$kms/$key"
refused 403 "Permission 'cloudkms.keyRings.create' denied" POST "$kms/$location/keyRings?keyRingId=other" '{}'
token=$owner

step "a rotation period, and a rotation after ninety days"
# gcloud kms keys update k8s-secrets-key … --rotation-period 90d --next-rotation-time TIME: surface/kms/keys/update.py, which reads the key first
call GET "$kms/$key"
next=$(python3 -c 'import datetime; print((datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=90)).strftime("%Y-%m-%dT%H:%M:%SZ"))')
call PATCH "$kms/$key?updateMask=rotationPeriod,nextRotationTime" "{\"rotationPeriod\":\"7776000s\",\"nextRotationTime\":\"$next\"}"
test "$(field answer.json rotationPeriod)" = 7776000s
before=$(grep -c 'current key version' plugin.log)
curl --silent --show-error --fail -X POST "$KMSLAB_ADMIN/clock" -d '{"advance":"91d"}' >clock.json
until test "$(grep -c 'current key version' plugin.log)" = $((before + 1)); do sleep 0.1; done
call GET "$kms/$key"
test "$(field answer.json primary name)" = "$key/cryptoKeyVersions/2"
call POST "$kms/$key:decrypt" "{\"ciphertext\":\"$sealed\"}"
test "$(field answer.json plaintext | base64 --decode)" = s3cret

step "a disabled version is reported, and works again once enabled"
# gcloud kms keys versions disable 2 …: surface/kms/keys/versions/disable.py
call PATCH "$kms/$key/cryptoKeyVersions/2?updateMask=state" '{"state":"DISABLED"}'
until grep -q 'is disabled: enable it again' plugin.log; do sleep 0.1; done
call PATCH "$kms/$key/cryptoKeyVersions/2?updateMask=state" '{"state":"ENABLED"}'
until test "$(grep -c 'the key is usable again' plugin.log)" = 2; do sleep 0.1; done
echo "all steps held"
