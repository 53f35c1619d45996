# Reads of secrets are logged, so that a person's read can be told. BigQuery logs its own without being asked.

resource "google_project_iam_audit_config" "secrets" {
  project = var.project_id
  service = "secretmanager.googleapis.com"

  audit_log_config {
    log_type = "DATA_READ"
  }
}
