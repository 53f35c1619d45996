# Who may read and write which dataset. Running queries (bigquery.jobUser) is a right in the project: the stack grants it.

resource "google_bigquery_dataset_iam_member" "ledger_writer" {
  for_each = var.ledger_writers

  project    = var.project_id
  dataset_id = google_bigquery_dataset.ledger.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = each.value
}

resource "google_bigquery_dataset_iam_member" "raw_reader" {
  for_each = merge(var.ledger_readers, var.ledger_writers, var.segment_writers)

  project    = var.project_id
  dataset_id = google_bigquery_dataset.raw.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}

resource "google_bigquery_dataset_iam_member" "ledger_reader" {
  for_each = merge(var.ledger_readers, var.segment_writers)

  project    = var.project_id
  dataset_id = google_bigquery_dataset.ledger.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}

# At a period's end the sync seals and sends what remains, by the reporter's own code.
resource "google_bigquery_table_iam_member" "seal_writer" {
  for_each = {
    for pair in setproduct(keys(var.segment_writers), ["ledger_epochs", "meter_deliveries", "meter_deltas", "rejected_lines"]) :
    "${pair[0]}/${pair[1]}" => { member = var.segment_writers[pair[0]], table = pair[1] }
  }

  project    = var.project_id
  dataset_id = google_bigquery_dataset.ledger.dataset_id
  table_id   = google_bigquery_table.ledger[each.value.table].table_id
  role       = "roles/bigquery.dataEditor"
  member     = each.value.member
}

resource "google_bigquery_table_iam_member" "segment_writer" {
  for_each = var.segment_writers

  project    = var.project_id
  dataset_id = google_bigquery_dataset.ledger.dataset_id
  table_id   = google_bigquery_table.ledger["billing_segments"].table_id
  role       = "roles/bigquery.dataEditor"
  member     = each.value
}
