output "id" {
  description = "The policy, as backend services name it."
  value       = google_compute_security_policy.main.id
}
