# One file per view, named like it. BigQuery checks a view against what it reads, so views come in layers:
# each layer reads tables and the layers before it.

locals {
  _dataset_ids = {
    raw    = google_bigquery_dataset.raw.dataset_id
    ledger = google_bigquery_dataset.ledger.dataset_id
  }

  view_layers = [
    ["usage_clean", "current_segments", "delivery_states"],
    ["usage_events", "unrecorded_usage"],
    ["usage_hours", "invoice_evidence"],
    ["unsealed_usage"],
  ]

  view_queries = {
    for name in flatten(local.view_layers) :
    name => templatefile("${path.module}/sql/${name}.sql", local._dataset_ids)
  }
}

resource "google_bigquery_table" "view_on_tables" {
  for_each = toset(local.view_layers[0])

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.ledger.dataset_id
  table_id            = each.key
  labels              = local.dataset_labels
  deletion_protection = false # holds no data

  view {
    query          = local.view_queries[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.raw, google_bigquery_table.ledger]
}

resource "google_bigquery_table" "view_on_lines" {
  for_each = toset(local.view_layers[1])

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.ledger.dataset_id
  table_id            = each.key
  labels              = local.dataset_labels
  deletion_protection = false # holds no data

  view {
    query          = local.view_queries[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.view_on_tables]
}

resource "google_bigquery_table" "view_on_events" {
  for_each = toset(local.view_layers[2])

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.ledger.dataset_id
  table_id            = each.key
  labels              = local.dataset_labels
  deletion_protection = false # holds no data

  view {
    query          = local.view_queries[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.view_on_lines]
}

resource "google_bigquery_table" "view_on_hours" {
  for_each = toset(local.view_layers[3])

  project             = var.project_id
  dataset_id          = google_bigquery_dataset.ledger.dataset_id
  table_id            = each.key
  labels              = local.dataset_labels
  deletion_protection = false # holds no data

  view {
    query          = local.view_queries[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.view_on_events]
}
