resource "google_bigquery_dataset" "everything_is_labelled" {
  project                    = "demo-project"
  dataset_id                 = "ledger"
  location                   = "EU"
  labels                     = { app = "tallygate" }
  delete_contents_on_destroy = false
}
