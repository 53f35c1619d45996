# Log-based metrics: one file each in metrics/. No label carries a tenant, a key or anything else that a client can
# choose: every label states the values that it may take, so that the number of time series is known beforehand.

locals {
  # A tenant's own proxy has the shared one's name and a suffix.
  _services = {
    proxy     = "~\"^${var.names.service}(-[a-z0-9-]+)?$\""
    functions = "(${join(" OR ", [for service in values(var.names.functions) : jsonencode(service)])})"
  }

  _sources = {
    proxy_stdout     = { log = "run.googleapis.com/stdout", services = local._services.proxy }
    proxy_stderr     = { log = "run.googleapis.com/stderr", services = local._services.proxy }
    proxy_requests   = { log = "run.googleapis.com/requests", services = local._services.proxy }
    functions_stdout = { log = "run.googleapis.com/stdout", services = local._services.functions }
    functions_stderr = { log = "run.googleapis.com/stderr", services = local._services.functions }
  }

  # What may write the lines of each source: a line can't place itself in another log or service.
  source_filters = {
    for name, source in local._sources : name => join(" AND ", [
      "log_id(\"${source.log}\")",
      "resource.type=\"cloud_run_revision\"",
      "resource.labels.service_name=${source.services}",
    ])
  }

  # Sets of label values that the configuration decides.
  value_sets = {
    functions = sort(keys(var.names.functions))
    models    = sort(tolist(var.models))
  }

  bucket_bounds = {
    milliseconds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000, 120000, 300000, 900000]
    seconds      = [60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 72000, 86400, 259200]
    count        = [for exponent in range(21) : pow(2, exponent)]
    nano_usd     = [for exponent in range(17) : 1000 * pow(4, exponent)]
  }

  metrics = {
    for file in fileset(path.module, "metrics/*.yaml") :
    trimsuffix(basename(file), ".yaml") => yamldecode(templatefile("${path.module}/${file}", {
      added_latency_ms  = local.added_latency_ms
      freshness_seconds = local.freshness_seconds
    }))
  }

  metric_filters = {
    for name, metric in local.metrics : name => join("\nOR ", [
      for line in metric.lines : "(${local.source_filters[line.source]}\nAND (${trimspace(line.filter)}))"
    ])
  }

  _label_values = {
    for name, metric in local.metrics : name => {
      for label, of in try(metric.labels, {}) :
      label => try(local.value_sets[of.values], of.values)
    }
  }

  # A dot is the only sign of a model's name that means something in a regular expression.
  _label_patterns = {
    for name, labels in local._label_values : name => {
      for label, values in labels :
      label => try(local.metrics[name].labels[label].pattern, "^(${replace(join("|", values), ".", "[.]")})$")
    }
  }

  metric_label_extractors = {
    for name, patterns in local._label_patterns : name => {
      for label, pattern in patterns :
      label => "REGEXP_EXTRACT(${local.metrics[name].labels[label].field}, \"${pattern}\")"
    }
  }

  # Each label may also be empty: a line without the field, or with a value that is not on the list. At most three
  # labels (metric.schema.json): a product has no function here.
  _label_counts = {
    for name, labels in local._label_values : name => concat([for values in labels : length(values) + 1], [1, 1, 1])
  }

  metric_series = {
    for name, counts in local._label_counts : name => counts[0] * counts[1] * counts[2]
  }
}

resource "google_logging_metric" "main" {
  for_each = local.metrics

  project          = var.project_id
  name             = "tallygate_${each.key}"
  description      = each.value.description
  filter           = local.metric_filters[each.key]
  disabled         = false
  value_extractor  = can(each.value.value) ? "EXTRACT(${each.value.value})" : null
  label_extractors = local.metric_label_extractors[each.key]

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = can(each.value.value) ? "DISTRIBUTION" : "INT64"
    unit         = each.value.unit
    display_name = each.value.title

    dynamic "labels" {
      for_each = try(each.value.labels, {})

      content {
        key         = labels.key
        value_type  = "STRING"
        description = labels.value.description
      }
    }
  }

  dynamic "bucket_options" {
    for_each = can(each.value.value) ? [local.bucket_bounds[each.value.buckets]] : []

    content {
      explicit_buckets {
        bounds = bucket_options.value
      }
    }
  }

  lifecycle {
    precondition {
      condition     = local.metric_series[each.key] <= local.most_series
      error_message = "Metric tallygate_${each.key} could have ${local.metric_series[each.key]} time series, more than ${local.most_series}: take a label out of modules/observability/metrics/${each.key}.yaml, or models out of the catalogue."
    }
  }
}
