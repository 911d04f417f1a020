import com.google.api.gax.rpc.InvalidArgumentException;
import com.google.auth.oauth2.ComputeEngineCredentials;
import com.google.auth.oauth2.GoogleCredentials;
import com.google.cloud.kms.v1.CryptoKey;
import com.google.cloud.kms.v1.CryptoKey.CryptoKeyPurpose;
import com.google.cloud.kms.v1.CryptoKeyVersion;
import com.google.cloud.kms.v1.KeyManagementServiceClient;
import com.google.cloud.kms.v1.KeyRing;
import com.google.protobuf.ByteString;

/** A key's life with Google's own client for Java, logged in by the metadata server and by nothing else. */
public final class GoogleKms {
  public static void main(String[] arguments) throws Exception {
    GoogleCredentials login = GoogleCredentials.getApplicationDefault();
    check(login instanceof ComputeEngineCredentials, "the login is " + login.getClass());
    ComputeEngineCredentials machine = (ComputeEngineCredentials) login;
    check(machine.getAccount().equals("kmslab@kmslab.iam.gserviceaccount.com"), "the account is " + machine.getAccount());
    check(machine.getProjectId().equals("kmslab"), "the project is " + machine.getProjectId());
    try (KeyManagementServiceClient kms = KeyManagementServiceClient.create()) {
      KeyRing ring = kms.createKeyRing("projects/kmslab/locations/global", "java", KeyRing.getDefaultInstance());
      CryptoKey wanted = CryptoKey.newBuilder().setPurpose(CryptoKeyPurpose.ENCRYPT_DECRYPT).build();
      CryptoKey key = kms.createCryptoKey(ring.getName(), "k", wanted);
      ByteString text = ByteString.copyFromUtf8("text");
      ByteString sealed = kms.encrypt(key.getName(), text).getCiphertext();
      CryptoKeyVersion second = kms.createCryptoKeyVersion(key.getName(), CryptoKeyVersion.getDefaultInstance());
      kms.updateCryptoKeyPrimaryVersion(key.getName(), "2");
      check(kms.encrypt(key.getName(), text).getName().equals(second.getName()), "the second version does not encrypt");
      check(kms.decrypt(key.getName(), sealed).getPlaintext().equals(text), "the first version's ciphertext is read as another");
      try {
        kms.decrypt(key.getName(), ByteString.copyFromUtf8("nothing"));
        throw new AssertionError("what is not a ciphertext was decrypted");
      } catch (InvalidArgumentException expected) {
        // As the service refuses it.
      }
    }
    System.out.println("all held");
  }

  private static void check(boolean holds, String otherwise) {
    if (!holds) throw new AssertionError(otherwise);
  }
}
