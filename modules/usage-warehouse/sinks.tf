# Cloud Logging writes through identities of its own, one per sink, that may write the raw dataset and nothing else.

locals {
  _raw_destination = "bigquery.googleapis.com/projects/${var.project_id}/datasets/${google_bigquery_dataset.raw.dataset_id}"

  sink_writers = {
    usage    = google_logging_project_sink.usage.writer_identity
    requests = google_logging_project_sink.requests.writer_identity
  }
}

resource "google_logging_project_sink" "usage" {
  project                = var.project_id
  name                   = "tallygate-usage"
  description            = "Every line that the proxy writes on stdout: usage events and admit lines."
  destination            = local._raw_destination
  filter                 = file("${path.module}/filters/usage-stdout.lql")
  unique_writer_identity = true

  bigquery_options {
    use_partitioned_tables = true
  }

  # A line must find the table with our schema, not make one with its own.
  depends_on = [google_bigquery_table.raw]
}

resource "google_logging_project_sink" "requests" {
  project                = var.project_id
  name                   = "tallygate-requests"
  description            = "The platform's own log of the proxy's requests: a witness that the proxy can't silence."
  destination            = local._raw_destination
  filter                 = file("${path.module}/filters/requests.lql")
  unique_writer_identity = true

  bigquery_options {
    use_partitioned_tables = true
  }

  depends_on = [google_bigquery_table.raw]
}

resource "google_bigquery_dataset_iam_member" "sink_writer" {
  for_each = local.sink_writers

  project    = var.project_id
  dataset_id = google_bigquery_dataset.raw.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = each.value
}
