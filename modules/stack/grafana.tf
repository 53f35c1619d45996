# Optional: an identity by which a Grafana elsewhere reads this project's metrics. It has no key: the listed members
# act as it.

locals {
  _grafana = var.options.grafana == null ? {} : { main = var.options.grafana }

  grafana_impersonators = var.options.grafana == null ? {} : var.options.grafana.impersonators
}

resource "google_service_account" "grafana" {
  for_each = local._grafana

  project      = var.project_id
  account_id   = "tallygate-grafana"
  display_name = "Tallygate Grafana"
  description  = "Reads metrics for Grafana's Cloud Monitoring data source."
}

resource "google_project_iam_member" "grafana_metrics" {
  for_each = local._grafana

  project = var.project_id
  role    = "roles/monitoring.viewer"
  member  = google_service_account.grafana[each.key].member
}

resource "google_service_account_iam_member" "grafana_impersonator" {
  for_each = local.grafana_impersonators

  service_account_id = google_service_account.grafana["main"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}
