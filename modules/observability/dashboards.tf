# Dashboards are data, one file each in dashboards/; only names are filled in.

locals {
  _dashboard_values = {
    environment       = var.environment
    project_id        = var.project_id
    service           = var.names.service
    functions         = join(" OR ", [for service in values(var.names.functions) : "\\\"${service}\\\""])
    log_view          = "${var.project_id}.${var.location}.${var.log_bucket}._AllLogs"
    added_latency_ms  = local.added_latency_ms
    freshness_seconds = local.freshness_seconds
  }

  dashboards = {
    for file in fileset(path.module, "dashboards/*.json") :
    trimsuffix(basename(file), ".json") => templatefile("${path.module}/${file}", local._dashboard_values)
  }
}

resource "google_monitoring_dashboard" "main" {
  for_each = local.dashboards

  project        = var.project_id
  dashboard_json = each.value

  depends_on = [google_logging_metric.main]
}
