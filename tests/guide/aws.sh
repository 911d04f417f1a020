# The guide's steps for AWS KMS, typed with the unmodified AWS CLI, kubectl and etcdctl. tests/tests/guide.rs runs it under
# `bash -euo pipefail` in an empty directory, with all four programs in PATH; a step that does not hold ends it.

step() { printf '\n== %s\n' "$*" >&2; }

step "an emulator in place of the cloud"
kmslab emulator --listen 127.0.0.1:0 --no-tls --admin-listen 127.0.0.1:0 >emulator.env &
until grep -q AWS_SECRET_ACCESS_KEY emulator.env; do sleep 0.05; done
. ./emulator.env
# As in a shell with a login and settings of another kind.
export AWS_PROFILE=own AWS_SESSION_TOKEN=own AWS_USE_FIPS_ENDPOINT=true HTTP_PROXY=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1
eval "$(kmslab env --for awscli --emulator-admin "$KMSLAB_ADMIN")"

step "a key and its alias"
aws kms create-key --description "Kubernetes secrets encryption" --region us-east-1 >key.json
key_id=$(aws kms list-keys --region us-east-1 --query 'Keys[0].KeyId' --output text)
aws kms create-alias --alias-name alias/k8s-secrets --target-key-id "$key_id" --region us-east-1
arn=$(aws kms describe-key --key-id alias/k8s-secrets --region us-east-1 --query KeyMetadata.Arn --output text)
grep -q "\"Arn\": \"$arn\"" key.json
aws kms list-aliases --region us-east-1 --query 'Aliases[].AliasName' --output text | grep -qx alias/k8s-secrets

step "the plugin with that key, and an API server with the plugin"
kmslab up guide --detach --key "$arn"
. "$(kmslab status guide --variables)"
kubectl version >version.txt

step "a new secret is encrypted in etcd, and can be read"
kubectl create secret generic test-secret --namespace default --from-literal=key1=supersecret
etcdctl get /registry/secrets/default/test-secret --print-value-only >stored
head -c 23 stored | grep -qx k8s:enc:kms:v2:kmslab:
if grep -q supersecret stored; then exit 1; fi
test "$(kubectl get secret test-secret --namespace default -o 'jsonpath={.data.key1}' | base64 -d)" = supersecret
kmslab inspect - --key /registry/secrets/default/test-secret --kms-endpoint "$AWS_ENDPOINT_URL_KMS" --show-values <stored \
  | grep -q supersecret

step "a rotation policy, and a rotation after a year"
test "$(aws kms get-key-rotation-status --key-id "$arn" --query KeyRotationEnabled --output text)" = False
aws kms enable-key-rotation --key-id "$arn" --rotation-period-in-days 90
test "$(aws kms get-key-rotation-status --key-id "$arn" --query '[KeyRotationEnabled, RotationPeriodInDays]' --output text)" = \
  "$(printf 'True\t90')"
before=$(kmslab inspect --etcd "$ETCDCTL_ENDPOINTS" --prefix /registry/secrets/ --format summary)
grep -q ', 1 encrypted, 0 stale' <<<"$before"
curl --silent --show-error --fail -X POST "$KMSLAB_ADMIN/clock" -d '{"advance":"365d"}' >clock.json
# Four times 90 days are over. The CLI's signatures, by the real clock, are good all the same, and so are the running plugin's.
test "$(aws kms list-key-rotations --key-id "$arn" --query 'length(Rotations)' --output text)" = 4
for n in $(seq 1 90); do
  kubectl create secret generic "after-$n" --namespace default --from-literal=key1=supersecret >created.txt
  kmslab inspect --etcd "$ETCDCTL_ENDPOINTS" --prefix /registry/secrets/ --format summary >summary.txt
  if ! grep -q ', 0 stale' summary.txt; then break; fi
  kubectl get --raw /readyz/kms-providers >ready.txt || true
  sleep 1
done
grep -Eq ', [1-9][0-9]* stale' summary.txt

step "everything is re-encrypted with the new version"
kubectl get secrets --all-namespaces -o json | kubectl replace -f - >replaced.txt
kmslab inspect --etcd "$ETCDCTL_ENDPOINTS" --prefix /registry/secrets/ --format summary | tee summary.txt
grep -q ', 0 stale' summary.txt
test "$(kubectl get secret test-secret --namespace default -o 'jsonpath={.data.key1}' | base64 -d)" = supersecret
kmslab run rewrite --lab guide

step "the same from a snapshot and from the data directory, without a server"
etcdctl snapshot save snapshot.db >saved.txt 2>&1
kmslab inspect --snapshot snapshot.db --prefix /registry/secrets/ --format summary | grep -q ', 0 stale'
kmslab inspect --snapshot "$(dirname "$KUBECONFIG")/etcd" --prefix /registry/secrets/ --format summary 2>member.txt \
  | grep -Eq ', [1-9][0-9]* encrypted'
grep -q "a member's file and no snapshot" member.txt

step "a disabled key is reported, and works again once enabled"
aws kms disable-key --key-id "$arn"
for n in $(seq 1 60); do
  if ! kmslab status guide >status.txt; then break; fi
  sleep 0.5
done
grep -q "$arn is disabled" status.txt
aws kms enable-key --key-id "$arn"

step "nothing is left behind"
kmslab down guide
test -z "$(kmslab status | grep -v 'no lab is up' || true)"
echo "all steps held"
