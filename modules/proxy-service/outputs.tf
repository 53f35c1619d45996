output "name" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.main.name
}

output "region" {
  description = "Region of the service."
  value       = google_cloud_run_v2_service.main.location
}

output "scaling" {
  description = "The profile with what differs from it."
  value       = local.scaling
}

output "uri" {
  description = "The service's own URL: callers use it when the exposure is private; without an answer when it is public."
  value       = google_cloud_run_v2_service.main.uri
}
