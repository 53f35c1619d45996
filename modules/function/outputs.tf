output "name" {
  description = "Name of the function's service."
  value       = google_cloud_run_v2_service.main.name
}

output "region" {
  description = "Region of the function."
  value       = google_cloud_run_v2_service.main.location
}

output "uri" {
  description = "URL of the function; without an answer when it is reached through the load balancer."
  value       = google_cloud_run_v2_service.main.uri
}
