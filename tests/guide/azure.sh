# The guide's steps for Azure Key Vault, typed with the unmodified Azure CLI. tests/tests/guide.rs runs it under `bash -euo pipefail` in an
# empty directory, with kmslab and az in PATH; a step that does not hold ends it.

step() { printf '\n== %s\n' "$*" >&2; }
# A command that must fail, and say so.
refused() {
  local said=$1
  shift
  if "$@" >refused.txt 2>&1; then
    echo "not refused: $*" >&2
    return 1
  fi
  grep -qF "$said" refused.txt || { cat refused.txt >&2; return 1; }
}
export AZURE_CORE_ONLY_SHOW_ERRORS=1

step "an emulator in place of the cloud, by the cloud's own names"
kmslab emulator --listen 127.0.0.1:0 --tls-listen 127.0.0.1:0 --proxy-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >emulator.env &
until grep -q AZURE_CLIENT_SECRET emulator.env; do sleep 0.05; done
. ./emulator.env
export AZURE_AUTHORITY_HOST=https://login.example https_proxy=http://127.0.0.1:1
eval "$(kmslab env --for az --emulator-admin "$KMSLAB_ADMIN")"
own=$AZURE_CONFIG_DIR
test ! -e "$own"
refused AADSTS7000215 az login --service-principal -u "$AZURE_CLIENT_ID" -p wrong --tenant "$AZURE_TENANT_ID"
az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID" >login.json
test "$(az account show --query state -o tsv)" = Enabled

step "a resource group, a vault, a key"
az group create --name k8s-kms-rg --location eastus >group.json
# Today's CLI makes vaults whose access roles decide, and `set-policy` does not work on those: hence the third flag, the only change to the guide.
az keyvault create --name k8s-kms-vault --resource-group k8s-kms-rg --location eastus --enable-rbac-authorization false >vault.json
test "$(az keyvault show --name k8s-kms-vault --query properties.vaultUri -o tsv)" = https://k8s-kms-vault.vault.azure.net/
refused "already exists" az keyvault create --name k8s-kms-vault --resource-group k8s-kms-rg --location eastus
az keyvault key create --vault-name k8s-kms-vault --name k8s-secrets-key --kty RSA --size 2048 >key.json
kid=$(az keyvault key show --vault-name k8s-kms-vault --name k8s-secrets-key --query key.kid -o tsv)
grep -Eq '^https://k8s-kms-vault.vault.azure.net/keys/k8s-secrets-key/[0-9a-f]{32}$' <<<"$kid"

step "an identity and its permissions"
az identity create --name k8s-kms-identity --resource-group k8s-kms-rg >identity.json
principal=$(az identity show --name k8s-kms-identity --resource-group k8s-kms-rg --query principalId -o tsv)
identity=$(az identity show --name k8s-kms-identity --resource-group k8s-kms-rg --query clientId -o tsv)
az keyvault set-policy --name k8s-kms-vault --object-id "$principal" --key-permissions encrypt decrypt >policy.json
az identity create --name somebody-else --resource-group k8s-kms-rg >other.json
other=$(az identity show --name somebody-else --resource-group k8s-kms-rg --query clientId -o tsv)

step "the plugin, as that identity"
AZURE_CLIENT_ID=$identity kmslab plugin azure --keyvault-name=k8s-kms-vault --key-name=k8s-secrets-key --auth=managed-identity \
  --proxy="$HTTPS_PROXY" --ca-file="$REQUESTS_CA_BUNDLE" --probe-interval=1s --listen="$PWD/kms.sock" 2>plugin.log &
until grep -q 'current key version' plugin.log; do sleep 0.1; done
grep -q "${kid##*/}" plugin.log

step "the identity may use the key, and another may not"
export AZURE_CONFIG_DIR=$PWD/as-identity
az login --identity --client-id "$identity" --allow-no-subscriptions >as-identity.json
plain=$(printf s3cret | base64)
sealed=$(az keyvault key encrypt --id "$kid" --algorithm RSA-OAEP-256 --value "$plain" --data-type base64 --query result -o tsv 2>encrypt.txt)
opened=$(az keyvault key decrypt --id "$kid" --algorithm RSA-OAEP-256 --value "$sealed" --data-type base64 --query result -o tsv 2>decrypt.txt)
test "$opened" = "$plain"
export AZURE_CONFIG_DIR=$PWD/as-other
az login --identity --client-id "$other" --allow-no-subscriptions >as-other.json
refused "does not have keys decrypt permission on key vault 'k8s-kms-vault;location=eastus'" \
  az keyvault key decrypt --id "$kid" --algorithm RSA-OAEP-256 --value "$sealed" --data-type base64
refused AuthorizationFailed az group create --name other-rg --location eastus --subscription "$AZURE_TENANT_ID"
export AZURE_CONFIG_DIR=$own

step "a rotation policy, and a rotation after ninety days"
az keyvault key rotation-policy update --vault-name k8s-kms-vault --name k8s-secrets-key --value \
  '{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P1Y"}}' >rotation.json
test "$(az keyvault key rotation-policy show --vault-name k8s-kms-vault --name k8s-secrets-key --query expiresIn -o tsv)" = P1Y
curl --silent --show-error --fail -X POST "$KMSLAB_ADMIN/clock" -d '{"advance":"90d"}' >clock.json
test "$(az keyvault key list-versions --vault-name k8s-kms-vault --name k8s-secrets-key --query 'length(@)')" = 2
until test "$(grep -c 'current key version' plugin.log)" = 2; do sleep 0.1; done
az keyvault key rotate --vault-name k8s-kms-vault --name k8s-secrets-key >rotated.json
until test "$(grep -c 'current key version' plugin.log)" = 3; do sleep 0.1; done
test "$(az keyvault key list-versions --vault-name k8s-kms-vault --name k8s-secrets-key --query 'length(@)')" = 3

step "a disabled version is reported, and works again once enabled"
az keyvault key set-attributes --vault-name k8s-kms-vault --name k8s-secrets-key --enabled false >disabled.json
until grep -q 'is disabled: enable it again' plugin.log; do sleep 0.1; done
az keyvault key set-attributes --vault-name k8s-kms-vault --name k8s-secrets-key --enabled true >enabled.json
until grep -q 'the key is usable again' plugin.log; do sleep 0.1; done

step "the same with roles, which is what today's CLI makes"
az keyvault create --name k8s-rbac-vault --resource-group k8s-kms-rg --location eastus >rbac.json
refused "Cannot set policies to a vault with '--enable-rbac-authorization' specified" \
  az keyvault set-policy --name k8s-rbac-vault --object-id "$principal" --key-permissions encrypt decrypt
refused ForbiddenByRbac az keyvault key create --vault-name k8s-rbac-vault --name k --kty RSA --size 2048
vault=$(az keyvault show --name k8s-rbac-vault --query id -o tsv)
me=$(az identity show --name k8s-kms-identity --resource-group k8s-kms-rg --query principalId -o tsv)
az role assignment create --role "Key Vault Crypto Officer" --assignee "$AZURE_CLIENT_ID" --scope "$vault" >officer.json
az role assignment create --role "Key Vault Crypto User" --assignee-object-id "$me" --assignee-principal-type ServicePrincipal --scope "$vault" >user.json
az keyvault key create --vault-name k8s-rbac-vault --name k --kty RSA --size 2048 >rbac-key.json
AZURE_CONFIG_DIR=$PWD/as-identity az keyvault key show --vault-name k8s-rbac-vault --name k >shown.json

step "a deleted vault is recovered with its keys, and purged"
az keyvault delete --name k8s-rbac-vault >deleted.txt
refused "" az keyvault key show --vault-name k8s-rbac-vault --name k
az keyvault recover --name k8s-rbac-vault >recovered.json
az keyvault key show --vault-name k8s-rbac-vault --name k >shown-again.json
az keyvault delete --name k8s-rbac-vault >deleted.txt
az keyvault purge --name k8s-rbac-vault >purged.txt
az keyvault create --name k8s-rbac-vault --resource-group k8s-kms-rg --location eastus >again.json
az group delete --name k8s-kms-rg --yes
test "$(az group exists --name k8s-kms-rg)" = false
echo "all steps held"
