resource "google_cloud_run_v2_service_iam_member" "nobody_is_everybody" {
  project  = "demo-project"
  location = "europe-west1"
  name     = "tallygate-proxy"
  role     = "roles/run.invoker"
  member   = "allUsers"
}

resource "google_project_iam_binding" "nobody_is_everybody" {
  project = "demo-project"
  role    = "roles/run.invoker"
  members = ["allAuthenticatedUsers"]
}
