output "name" {
  description = "Resource name of the key, known when its users may use it."
  value       = google_kms_crypto_key.main.id

  depends_on = [google_kms_crypto_key_iam_member.user]
}
