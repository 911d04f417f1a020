// A key's life through Google's own Go client, which speaks gRPC, by the vendor's own host name.
//
// What it needs comes from the environment, as for any program: HTTPS_PROXY and SSL_CERT_FILE of the emulator, GCE_METADATA_HOST for
// credentials.
package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"strings"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const location = "projects/go/locations/us-east1"

func crc(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
}

func main() {
	if err := life(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("all held")
}

func life(ctx context.Context) error {
	client, err := kms.NewKeyManagementClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ring, err := client.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: location, KeyRingId: "ring", KeyRing: &kmspb.KeyRing{}})
	if err != nil {
		return err
	}
	key, err := client.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
		Parent: ring.Name, CryptoKeyId: "k", CryptoKey: &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT},
	})
	if err != nil {
		return err
	}
	first := key.Primary.Name
	seed := []byte("seed")
	old, err := client.Encrypt(ctx, &kmspb.EncryptRequest{Name: key.Name, Plaintext: seed, PlaintextCrc32C: crc(seed)})
	if err != nil {
		return err
	}
	if old.Name != first || !old.VerifiedPlaintextCrc32C || old.CiphertextCrc32C.Value != crc(old.Ciphertext).Value {
		return fmt.Errorf("Encrypt answered %v", old)
	}
	opens := func() error {
		opened, err := client.Decrypt(ctx, &kmspb.DecryptRequest{Name: key.Name, Ciphertext: old.Ciphertext})
		if err == nil && !bytes.Equal(opened.Plaintext, seed) {
			err = fmt.Errorf("Decrypt answered other bytes")
		}
		return err
	}

	made, err := client.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: key.Name, CryptoKeyVersion: &kmspb.CryptoKeyVersion{}})
	if err != nil {
		return err
	}
	primary := &kmspb.UpdateCryptoKeyPrimaryVersionRequest{Name: key.Name, CryptoKeyVersionId: "2"}
	if _, err := client.UpdateCryptoKeyPrimaryVersion(ctx, primary); err != nil {
		return err
	}
	if sealed, err := client.Encrypt(ctx, &kmspb.EncryptRequest{Name: key.Name, Plaintext: seed}); err != nil || sealed.Name != made.Name {
		return fmt.Errorf("after the rotation Encrypt answered %v, %w", sealed, err)
	}
	if err := opens(); err != nil {
		return fmt.Errorf("the old version: %w", err)
	}

	set := func(state kmspb.CryptoKeyVersion_CryptoKeyVersionState) error {
		_, err := client.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: first, State: state},
			UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
		return err
	}
	if err := set(kmspb.CryptoKeyVersion_DISABLED); err != nil {
		return err
	}
	if err := disabled(opens(), first); err != nil {
		return err
	}
	if err := set(kmspb.CryptoKeyVersion_ENABLED); err != nil {
		return err
	}
	if _, err := client.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: first}); err != nil {
		return err
	}
	if err := opens(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "DESTROY_SCHEDULED") {
		return fmt.Errorf("of a version that is to be destroyed: %w", err)
	}
	restored, err := client.RestoreCryptoKeyVersion(ctx, &kmspb.RestoreCryptoKeyVersionRequest{Name: first})
	if err != nil || restored.State != kmspb.CryptoKeyVersion_DISABLED {
		return fmt.Errorf("Restore answered %v, %w", restored, err)
	}
	if err := set(kmspb.CryptoKeyVersion_ENABLED); err != nil {
		return err
	}
	return opens()
}

// The client's typed error: a code, the service's words, and which version is in the way.
func disabled(err error, version string) error {
	told, _ := status.FromError(err)
	if told.Code() != codes.FailedPrecondition || told.Message() != version+" is not enabled, current state is: DISABLED." {
		return fmt.Errorf("of a disabled version: %w", err)
	}
	for _, detail := range told.Details() {
		failure, ok := detail.(*errdetails.PreconditionFailure)
		if ok && failure.Violations[0].Type == "KEY_DISABLED" && failure.Violations[0].Subject == version {
			return nil
		}
	}
	return fmt.Errorf("the error has no PreconditionFailure: %v", told.Details())
}
