# The jobs of jobs.json: when which function is called with what.

locals {
  jobs = jsondecode(file("${path.module}/jobs.json"))
}

resource "google_cloud_scheduler_job" "main" {
  for_each = local.jobs

  project          = var.project_id
  region           = var.region
  name             = "tallygate-${each.key}"
  description      = each.value.description
  schedule         = each.value.cron
  time_zone        = var.time_zone
  paused           = false
  attempt_deadline = "${var.timeout_seconds}s"

  # A run that fails is tried again soon; after that the next run does its work. Runs don't overlap: the function
  # holds a lease.
  retry_config {
    retry_count          = 2
    min_backoff_duration = "10s"
    max_backoff_duration = "60s"
    max_retry_duration   = "0s"
    max_doublings        = 3
  }

  http_target {
    uri         = var.targets[each.value.function]
    http_method = "POST"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode(each.value.body))

    oidc_token {
      service_account_email = var.invoker_email
      audience              = var.targets[each.value.function]
    }
  }
}
