# The rules of this module's inputs, and what follows from them.

mock_provider "google" {
  source = "../../tests/terraform/mocks"
}

variables {
  project_id = "demo-project"
  location   = "europe"
  users      = { storage = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com" }
}

run "a_destroyed_version_can_be_brought_back_for_a_month" {
  command = plan

  assert {
    condition     = google_kms_crypto_key.main.destroy_scheduled_duration == "2592000s" && google_kms_crypto_key.main.rotation_period == "7776000s"
    error_message = "Rotated every 90 days, destroyed after 30."
  }

  assert {
    condition     = google_kms_crypto_key_iam_member.user["storage"].role == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    error_message = "Google's services encrypt and decrypt, and do nothing else with the key."
  }
}

run "a_rotation_every_hour_is_refused" {
  command = plan

  variables {
    rotation_days = 0
  }

  expect_failures = [var.rotation_days]
}
