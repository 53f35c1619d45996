# The key that encrypts what the gateway keeps. A key ring can never be deleted: its name stays taken.

resource "google_kms_key_ring" "main" {
  project  = var.project_id
  name     = "tallygate"
  location = var.location
}

resource "google_kms_crypto_key" "main" {
  name            = "tallygate-data"
  key_ring        = google_kms_key_ring.main.id
  purpose         = "ENCRYPT_DECRYPT"
  labels          = var.labels
  rotation_period = "${var.rotation_days * 24 * 60 * 60}s"

  # Data whose key is destroyed is gone: thirty days to change one's mind.
  destroy_scheduled_duration = "2592000s"

  version_template {
    algorithm        = "GOOGLE_SYMMETRIC_ENCRYPTION"
    protection_level = "SOFTWARE"
  }
}

resource "google_kms_crypto_key_iam_member" "user" {
  for_each = var.users

  crypto_key_id = google_kms_crypto_key.main.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
}
