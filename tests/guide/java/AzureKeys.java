import com.azure.core.exception.HttpResponseException;
import com.azure.core.exception.ResourceNotFoundException;
import com.azure.core.util.polling.SyncPoller;
import com.azure.identity.DefaultAzureCredential;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.security.keyvault.keys.KeyClient;
import com.azure.security.keyvault.keys.KeyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.CryptographyClient;
import com.azure.security.keyvault.keys.cryptography.CryptographyClientBuilder;
import com.azure.security.keyvault.keys.cryptography.models.EncryptionAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.KeyWrapAlgorithm;
import com.azure.security.keyvault.keys.cryptography.models.SignatureAlgorithm;
import com.azure.security.keyvault.keys.models.CreateEcKeyOptions;
import com.azure.security.keyvault.keys.models.CreateOctKeyOptions;
import com.azure.security.keyvault.keys.models.CreateRsaKeyOptions;
import com.azure.security.keyvault.keys.models.DeletedKey;
import com.azure.security.keyvault.keys.models.KeyCurveName;
import com.azure.security.keyvault.keys.models.KeyRotationLifetimeAction;
import com.azure.security.keyvault.keys.models.KeyRotationPolicy;
import com.azure.security.keyvault.keys.models.KeyRotationPolicyAction;
import com.azure.security.keyvault.keys.models.KeyType;
import com.azure.security.keyvault.keys.models.KeyVaultKey;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.List;

/** A key's life with Microsoft's own SDK for Java, with its check of the challenge left on. */
public final class AzureKeys {
  private static final byte[] TEXT = "text".getBytes(StandardCharsets.UTF_8);
  private static final DefaultAzureCredential LOGIN = new DefaultAzureCredentialBuilder().build();

  public static void main(String[] arguments) throws Exception {
    String vault = "https://kmslab.vault.azure.net";
    String hsm = "https://kmslab.managedhsm.azure.net";
    life(vault, KeyType.RSA);
    life(hsm, KeyType.RSA_HSM);

    KeyClient keys = new KeyClientBuilder().vaultUrl(vault).credential(LOGIN).buildClient();
    KeyVaultKey curve = keys.createEcKey(new CreateEcKeyOptions("java-ec").setCurveName(KeyCurveName.P_521));
    CryptographyClient signer = at(curve.getId());
    byte[] digest = MessageDigest.getInstance("SHA-512").digest(TEXT);
    byte[] signature = signer.sign(SignatureAlgorithm.ES512, digest).getSignature();
    check(signer.verify(SignatureAlgorithm.ES512, digest, signature).isValid(), "the signature does not hold");
    refused(400, () -> keys.createOctKey(new CreateOctKeyOptions("java-oct").setKeySize(256)));

    KeyClient inHardware = new KeyClientBuilder().vaultUrl(hsm).credential(LOGIN).buildClient();
    KeyVaultKey oct = inHardware.createOctKey(new CreateOctKeyOptions("java-oct").setKeySize(256));
    check(oct.getKeyType().equals(KeyType.OCT_HSM), "the symmetric key is " + oct.getKeyType());
    byte[] wrapped = at(oct.getId()).wrapKey(KeyWrapAlgorithm.A256KW, new byte[32]).getEncryptedKey();
    check(Arrays.equals(at(oct.getId()).unwrapKey(KeyWrapAlgorithm.A256KW, wrapped).getKey(), new byte[32]), "another key came out");
    System.out.println("all held");
    // Its HTTP client's threads would live on.
    System.exit(0);
  }

  private static void life(String vault, KeyType type) {
    KeyClient keys = new KeyClientBuilder().vaultUrl(vault).credential(LOGIN).buildClient();
    // It sends public_exponent 0, for the default.
    KeyVaultKey first = keys.createRsaKey(new CreateRsaKeyOptions("java-rsa").setKeySize(2048).setHardwareProtected(type.equals(KeyType.RSA_HSM)));
    check(first.getKeyType().equals(type), "the key is " + first.getKeyType());
    check(first.getId().startsWith(vault + "/keys/java-rsa/"), "it is at " + first.getId());
    byte[] sealed = at(first.getId()).encrypt(EncryptionAlgorithm.RSA_OAEP_256, TEXT).getCipherText();
    KeyVaultKey second = keys.rotateKey("java-rsa");
    check(!second.getId().equals(first.getId()), "the rotation made nothing");
    check(keys.getKey("java-rsa").getId().equals(second.getId()), "the newest is another");
    check(Arrays.equals(at(first.getId()).decrypt(EncryptionAlgorithm.RSA_OAEP_256, sealed).getPlainText(), TEXT), "the old version reads another text");
    refused(400, () -> at(second.getId()).decrypt(EncryptionAlgorithm.RSA_OAEP_256, sealed));
    keys.updateKeyProperties(first.getProperties().setEnabled(false));
    refused(403, () -> at(first.getId()).decrypt(EncryptionAlgorithm.RSA_OAEP_256, sealed));

    KeyRotationLifetimeAction yearly = new KeyRotationLifetimeAction(KeyRotationPolicyAction.ROTATE).setTimeAfterCreate("P90D");
    KeyRotationPolicy policy = new KeyRotationPolicy().setLifetimeActions(List.of(yearly)).setExpiresIn("P1Y");
    check(keys.updateKeyRotationPolicy("java-rsa", policy).getExpiresIn().equals("P1Y"), "the policy was not kept");
    check(keys.listPropertiesOfKeyVersions("java-rsa").stream().count() == 2, "there are not two versions");

    byte[] backup = keys.backupKey("java-rsa");
    delete(keys);
    try {
      keys.getKey("java-rsa");
      throw new AssertionError("a deleted key was read");
    } catch (ResourceNotFoundException expected) {
      // As the service has it.
    }
    SyncPoller<KeyVaultKey, Void> recovery = keys.beginRecoverDeletedKey("java-rsa");
    recovery.waitForCompletion();
    check(recovery.poll().getValue().getId().equals(second.getId()), "another key was recovered");
    delete(keys);
    keys.purgeDeletedKey("java-rsa");
    check(keys.restoreKeyBackup(backup).getId().equals(second.getId()), "another key was restored");
  }

  private static void delete(KeyClient keys) {
    SyncPoller<DeletedKey, Void> deletion = keys.beginDeleteKey("java-rsa");
    check(deletion.poll().getValue().getScheduledPurgeDate() != null, "a deleted key has no date");
    deletion.waitForCompletion();
  }

  private static CryptographyClient at(String id) {
    return new CryptographyClientBuilder().keyIdentifier(id).credential(LOGIN).buildClient();
  }

  private static void refused(int status, Runnable call) {
    try {
      call.run();
    } catch (HttpResponseException refusal) {
      check(refusal.getResponse().getStatusCode() == status, "refused with " + refusal.getMessage());
      return;
    }
    throw new AssertionError("not refused with " + status);
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) throw new AssertionError(otherwise);
  }
}
