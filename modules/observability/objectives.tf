# What is promised, and from when on a breach is told. Every number follows from the objectives: how much of the
# period's budget may be spent in a window before someone hears of it is the only choice made here.

locals {
  freshness_seconds = var.objectives.freshness_seconds
  added_latency_ms  = var.objectives.added_latency_ms

  _period_hours = var.objectives.period_days * 24

  # The share of the period's budget that is gone when an alert of this speed fires, and the window in which it went.
  # The second window, a twelfth of the first, ends the alert soon after the trouble has ended.
  _speeds = {
    fast = { window_minutes = 60, budget_share = 0.02 }
    slow = { window_minutes = 360, budget_share = 0.05 }
  }

  burn_rates = {
    for speed, of in local._speeds : speed => {
      window       = "${of.window_minutes}m"
      short_window = "${of.window_minutes / 12}m"
      rate         = of.budget_share * local._period_hours * 60 / of.window_minutes
    }
  }

  _metric = "logging_googleapis_com:user_tallygate_"
  _where  = "monitored_resource=\"cloud_run_revision\""

  # Requests (or runs) that were good and bad, by objective: metrics of metrics/. What neither counts is no part of it.
  objectives = {
    availability = {
      title   = "Requests that the gateway does not fail"
      goal    = var.objectives.availability
      good    = { metric = "requests", label = { status = "success" } }
      bad     = { metric = "gateway_failures", label = {} }
      minimum = var.objectives.minimum_of_requests
    }
    added_latency = {
      title   = "Requests to which the gateway adds at most ${var.objectives.added_latency_ms} ms"
      goal    = 0.95 # p95
      good    = { metric = "swift_requests", label = {} }
      bad     = { metric = "slow_requests", label = {} }
      minimum = var.objectives.minimum_of_requests
    }
    freshness = {
      title   = "Runs that leave no usage unsent for longer than ${var.objectives.freshness_seconds} s"
      goal    = var.objectives.freshness
      good    = { metric = "fresh_runs", label = {} }
      bad     = { metric = "stale_runs", label = {} }
      minimum = 3 # runs: one that stumbles is no trend
    }
  }

  # PromQL with %s for the window.
  _counts = {
    for name, objective in local.objectives : name => {
      for side in ["good", "bad"] : side =>
      "sum(increase(${local._metric}${objective[side].metric}{${join(", ", concat([local._where], [for label, value in objective[side].label : "${label}=\"${value}\""]))}}[%s]))"
    }
  }

  _eligible = {
    for name, counts in local._counts : name => "(${counts.bad} + (${counts.good} or vector(0)))"
  }

  # Both windows burn, and the long one holds enough to tell. Without a single failure there is no series: no alert.
  burn_queries = {
    for pair in setproduct(keys(local.objectives), keys(local.burn_rates)) : "${pair[0]}/${pair[1]}" => join("\nand\n", concat(
      [
        for window in [local.burn_rates[pair[1]].window, local.burn_rates[pair[1]].short_window] : format(
          "(${local._counts[pair[0]].bad} / ${local._eligible[pair[0]]} > %.6f)",
          window, window, window, min(1, local.burn_rates[pair[1]].rate * (1 - local.objectives[pair[0]].goal))
        )
      ],
      [format(
        "(${local._eligible[pair[0]]} >= %s)",
        local.burn_rates[pair[1]].window, local.burn_rates[pair[1]].window, local.objectives[pair[0]].minimum
      )],
    ))
  }

  # The same two counts as filters of Cloud Monitoring.
  _service_filters = {
    for name, objective in local.objectives : name => {
      for side in ["good", "bad"] : side => join(" AND ", concat(
        [
          "metric.type=\"logging.googleapis.com/user/tallygate_${objective[side].metric}\"",
          "resource.type=\"cloud_run_revision\"",
        ],
        [for label, value in objective[side].label : "metric.labels.${label}=\"${value}\""],
      ))
    }
  }
}

resource "google_monitoring_custom_service" "gateway" {
  project      = var.project_id
  service_id   = "tallygate"
  display_name = "Tallygate (${var.environment})"
  user_labels  = var.labels
}

resource "google_monitoring_slo" "main" {
  for_each = local.objectives

  project             = var.project_id
  service             = google_monitoring_custom_service.gateway.service_id
  slo_id              = replace(each.key, "_", "-")
  display_name        = each.value.title
  goal                = each.value.goal
  rolling_period_days = var.objectives.period_days
  user_labels         = var.labels

  request_based_sli {
    good_total_ratio {
      good_service_filter = local._service_filters[each.key].good
      bad_service_filter  = local._service_filters[each.key].bad
    }
  }

  depends_on = [google_logging_metric.main]
}
