// Package azurekeys pins Microsoft's own tests of azkeys, its SDK for Go's client of Key Vault's keys: they are built as they are, by
//
//	go test -c github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys
package azurekeys

import _ "github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
