resource "google_logging_metric" "a_metrics_labels_are_extracted_label" {
  project = "demo-project"
  name    = "label"
  filter  = "severity>=ERROR"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key        = "model"
      value_type = "STRING"
    }
  }
}

resource "google_logging_metric" "a_metrics_labels_are_extracted_distribution" {
  project         = "demo-project"
  name            = "distribution"
  filter          = "severity>=ERROR"
  value_extractor = "EXTRACT(jsonPayload.latency_ms)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
  }
}
