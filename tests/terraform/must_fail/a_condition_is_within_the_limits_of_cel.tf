resource "google_project_iam_member" "a_condition_is_within_the_limits_of_cel" {
  project = "demo-project"
  role    = "roles/storage.objectViewer"
  member  = "serviceAccount:${local.account}"

  condition {
    title      = "one of fourteen"
    expression = "resource.name == \"0\" || resource.name == \"1\" || resource.name == \"2\" || resource.name == \"3\" || resource.name == \"4\" || resource.name == \"5\" || resource.name == \"6\" || resource.name == \"7\" || resource.name == \"8\" || resource.name == \"9\" || resource.name == \"10\" || resource.name == \"11\" || resource.name == \"12\" || resource.name == \"13\""
  }
}
