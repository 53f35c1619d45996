resource "google_project_iam_member" "no_basic_roles" {
  project = "demo-project"
  role    = "roles/viewer"
  member  = "serviceAccount:${local.account}"
}
