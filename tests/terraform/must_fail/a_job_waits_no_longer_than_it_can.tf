resource "google_cloud_scheduler_job" "a_job_waits_no_longer_than_it_can" {
  project          = "demo-project"
  region           = "europe-west1"
  name             = "tallygate-usage-reporter"
  schedule         = "*/5 * * * *"
  attempt_deadline = "3600s"

  http_target {
    uri         = "https://example.com"
    http_method = "POST"
  }
}
