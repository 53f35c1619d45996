# Optional: models of Vertex AI, called as the proxy's own identity, without a key.

resource "google_project_iam_member" "proxy_vertex_ai" {
  count = var.options.vertex_ai == null ? 0 : 1

  project = var.project_id
  role    = "roles/aiplatform.user"
  member  = google_service_account.proxy.member
}
