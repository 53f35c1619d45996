resource "google_compute_backend_service" "a_serverless_backend_has_no_timeout_timeout" {
  project     = "demo-project"
  name        = "tallygate"
  timeout_sec = 900
}

resource "google_compute_backend_service" "a_serverless_backend_has_no_timeout_port" {
  project   = "demo-project"
  name      = "tallygate"
  port_name = "http"
}

resource "google_compute_backend_service" "a_serverless_backend_has_no_timeout_health" {
  project       = "demo-project"
  name          = "tallygate"
  health_checks = ["projects/demo-project/global/healthChecks/some"]
}
