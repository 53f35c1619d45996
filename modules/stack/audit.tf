# Who read a secret. Changes of the ledger are always in BigQuery's own audit log; alerts watch both.

resource "google_project_iam_audit_config" "secrets" {
  project = var.project_id
  service = "secretmanager.googleapis.com"

  audit_log_config {
    log_type = "DATA_READ"
  }
}
