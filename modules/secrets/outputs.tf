output "ids" {
  description = "Ids of the secrets, sorted."
  value       = sort([for secret in google_secret_manager_secret.main : secret.secret_id])
}
