resource "google_project_iam_member" "nobody_writes_log_entries" {
  project = "demo-project"
  role    = "roles/logging.logWriter"
  member  = "serviceAccount:${local.account}"
}

resource "google_project_iam_member" "nobody_writes_log_entries_build" {
  project = "demo-project"
  role    = "roles/run.builder"
  member  = "serviceAccount:${local.account}"
}

resource "google_project_iam_custom_role" "nobody_writes_log_entries" {
  project     = "demo-project"
  role_id     = "writer"
  title       = "writer"
  permissions = ["logging.logEntries.create"]
}
