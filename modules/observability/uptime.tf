# Asks the gateway from the internet, as a client would: the only witness when nothing reaches it.

locals {
  _uptime = var.host == null ? {} : { gateway = var.host }
}

resource "google_monitoring_uptime_check_config" "main" {
  for_each = local._uptime

  project            = var.project_id
  display_name       = "${var.environment}: ${each.value}"
  period             = "60s"
  timeout            = "10s"
  checker_type       = "STATIC_IP_CHECKERS"
  log_check_failures = true
  user_labels        = var.labels

  http_check {
    path           = "/health"
    port           = 443
    request_method = "GET"
    use_ssl        = true
    validate_ssl   = true

    accepted_response_status_codes {
      status_value = 200
    }
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project_id
      host       = each.value
    }
  }
}
