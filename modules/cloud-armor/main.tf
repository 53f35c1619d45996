# What the edge refuses by the client's address alone. Limits per key are the proxy's: a request without the header
# that a rule counts by would share one bucket with all others of its kind. No rule looks into bodies: prompts
# legitimately hold SQL and HTML, and beyond 64 KB a body is not looked at anyway.

locals {
  _window_seconds = 600
  _any_address    = ["*"]
}

resource "google_compute_security_policy" "main" {
  project     = var.project_id
  name        = var.name
  description = "Bans client addresses that call too often."
  type        = "CLOUD_ARMOR"
  labels      = var.labels

  # Without it, the punctuation of JSON counts as an attack wherever somebody adds a body rule.
  advanced_options_config {
    json_parsing = "STANDARD"
    log_level    = "NORMAL"
  }

  dynamic "rule" {
    for_each = length(var.blocked_ranges) == 0 ? [] : [var.blocked_ranges]

    content {
      action      = "deny(403)"
      priority    = 100
      preview     = false
      description = "Addresses that are always refused."

      match {
        versioned_expr = "SRC_IPS_V1"

        config {
          src_ip_ranges = rule.value
        }
      }
    }
  }

  rule {
    action      = "rate_based_ban"
    priority    = 1000
    preview     = false
    description = "One address, too many requests."

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = local._any_address
      }
    }

    rate_limit_options {
      conform_action   = "allow"
      exceed_action    = "deny(429)"
      enforce_on_key   = "IP"
      ban_duration_sec = var.rate_limit.ban_seconds

      rate_limit_threshold {
        count        = var.rate_limit.requests_per_minute
        interval_sec = 60
      }

      ban_threshold {
        count        = min(1000000, var.rate_limit.requests_per_minute * local._window_seconds / 60)
        interval_sec = local._window_seconds
      }
    }
  }

  rule {
    action      = "allow"
    priority    = 2147483647
    preview     = false
    description = "Everybody else; the proxy authenticates every request."

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = local._any_address
      }
    }
  }
}
