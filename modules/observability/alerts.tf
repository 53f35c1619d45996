# Alerts are data, one file each in alerts/; the file's name is the alert's id and its playbook's name. An alert with
# "per: jobs" is one policy for each scheduled job.

locals {
  _alert_files = { for file in fileset(path.module, "alerts/*.yaml") : trimsuffix(basename(file), ".yaml") => "${path.module}/${file}" }

  # Read once without values, to see which are per job or need a host.
  _alert_outlines = { for id, file in local._alert_files : id => yamldecode(file(file)) }

  _alert_values = {
    ledger_dataset = var.names.ledger_dataset
    function       = ""
    job            = ""
    matchers       = ""
    window         = ""
    period         = ""
    rest           = 0
    job_severity   = "ticket"
  }

  _alert_instances = merge(
    {
      for id, outline in local._alert_outlines : id => { id = id, values = local._alert_values }
      if !can(outline.per) && (!can(outline.needs) || var.host != null)
    },
    {
      for pair in setproduct([for id, outline in local._alert_outlines : id if can(outline.per)], keys(local.jobs)) :
      "${pair[0]}/${pair[1]}" => {
        id = pair[0]
        values = merge(local._alert_values, {
          function     = local.jobs[pair[1]].function
          job          = pair[1]
          matchers     = local.jobs[pair[1]].matchers
          window       = "${local.jobs[pair[1]].missing_after_seconds}s"
          period       = "${local.jobs[pair[1]].period_seconds}s"
          rest         = ceil((local.jobs[pair[1]].missing_after_seconds - local.jobs[pair[1]].period_seconds) / 60) * 60
          job_severity = local.jobs[pair[1]].severity
        })
      }
    },
  )

  alerts = {
    for key, instance in local._alert_instances : key =>
    merge(yamldecode(templatefile(local._alert_files[instance.id], instance.values)), { id = instance.id })
  }

  _alert_kinds = {
    promql    = { for key, alert in local.alerts : key => alert.condition.promql if can(alert.condition.promql) }
    burn_rate = { for key, alert in local.alerts : key => alert.condition.burn_rate if can(alert.condition.burn_rate) }
    log       = { for key, alert in local.alerts : key => alert.condition.log if can(alert.condition.log) }
    uptime    = { for key, alert in local.alerts : key => alert.condition.uptime if can(alert.condition.uptime) }
  }

  alert_queries = merge(
    { for key, of in local._alert_kinds.promql : key => { query = trimspace(of.query), for_seconds = of.for_seconds } },
    { for key, of in local._alert_kinds.burn_rate : key => { query = local.burn_queries["${of.objective}/${of.speed}"], for_seconds = 0 } },
  )

  _severities = {
    page   = { google = "CRITICAL", channels = var.channels.page }
    ticket = { google = "WARNING", channels = var.channels.ticket }
  }

  _playbooks = var.playbooks_url == null ? "docs/playbooks/alerts" : var.playbooks_url
}

resource "google_monitoring_alert_policy" "main" {
  for_each = local.alerts

  project               = var.project_id
  display_name          = "${var.environment}: ${each.key}"
  combiner              = "OR"
  enabled               = true
  severity              = local._severities[each.value.severity].google
  notification_channels = local._severities[each.value.severity].channels
  user_labels           = merge(var.labels, { alert = each.value.id })

  conditions {
    display_name = each.key

    # These need no metric to exist: one appears minutes after its first line, and some only when trouble comes.
    dynamic "condition_prometheus_query_language" {
      for_each = contains(keys(local.alert_queries), each.key) ? [local.alert_queries[each.key]] : []
      iterator = condition

      content {
        query                     = condition.value.query
        duration                  = "${condition.value.for_seconds}s"
        evaluation_interval       = "60s"
        disable_metric_validation = true
      }
    }

    dynamic "condition_matched_log" {
      for_each = contains(keys(local._alert_kinds.log), each.key) ? [local._alert_kinds.log[each.key]] : []
      iterator = condition

      content {
        filter           = trimspace(condition.value.filter)
        label_extractors = condition.value.labels
      }
    }

    # Failing checks, counted over the regions that check: one region alone may be the region's own trouble.
    dynamic "condition_threshold" {
      for_each = contains(keys(local._alert_kinds.uptime), each.key) ? [local._alert_kinds.uptime[each.key]] : []
      iterator = condition

      content {
        filter          = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND resource.type=\"uptime_url\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.main["gateway"].uptime_check_id}\""
        comparison      = "COMPARISON_GT"
        threshold_value = condition.value.failing_regions - 1
        duration        = "${condition.value.for_seconds}s"

        aggregations {
          alignment_period     = "120s"
          per_series_aligner   = "ALIGN_NEXT_OLDER"
          cross_series_reducer = "REDUCE_COUNT_FALSE"
          group_by_fields      = ["resource.label.host"]
        }

        trigger {
          count = 1
        }
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"

    # Only an alert on log entries has, and must have, a limit of its notifications.
    dynamic "notification_rate_limit" {
      for_each = contains(keys(local._alert_kinds.log), each.key) ? [local._alert_kinds.log[each.key]] : []

      content {
        period = "${notification_rate_limit.value.at_most_every_seconds}s"
      }
    }
  }

  documentation {
    subject   = "[${var.environment}] ${each.value.severity}: ${each.key}"
    mime_type = "text/markdown"
    content   = "${trimspace(each.value.summary)}\n\nPlaybook: ${local._playbooks}/${each.value.id}.md"

    dynamic "links" {
      for_each = var.playbooks_url == null ? [] : [var.playbooks_url]

      content {
        display_name = "Playbook"
        url          = "${links.value}/${each.value.id}.md"
      }
    }
  }

  depends_on = [google_logging_metric.main]
}
