output "name" {
  description = "Resource name of the key, known when its users may use it."
  value       = "projects/${var.project_id}/locations/${var.location}/keyRings/${google_kms_key_ring.main.name}/cryptoKeys/${google_kms_crypto_key.main.name}"

  depends_on = [google_kms_crypto_key_iam_member.user]
}
