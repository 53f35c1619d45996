resource "google_cloud_run_v2_service" "production_is_protected" {
  project              = "demo-project"
  name                 = "tallygate-proxy"
  location             = "europe-west1"
  labels               = local.labels
  deletion_protection  = false
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_uri_disabled = true
  invoker_iam_disabled = true

  template {
    service_account = local.account
    labels          = local.labels

    containers {
      image = local.image
      resources {
        limits   = { cpu = "1", memory = "1Gi" }
        cpu_idle = true
      }

    }
  }
}

resource "google_bigquery_dataset" "production_is_protected" {
  project                    = "demo-project"
  dataset_id                 = "ledger"
  location                   = "EU"
  labels                     = local.labels
  delete_contents_on_destroy = true
}

resource "google_bigquery_table" "production_is_protected" {
  project             = "demo-project"
  dataset_id          = "ledger"
  table_id            = "meter_deltas"
  labels              = local.labels
  deletion_protection = false
  schema              = "[]"
}

resource "google_storage_bucket" "production_is_protected" {
  project                     = "demo-project"
  name                        = "demo-project-archive"
  location                    = "EU"
  labels                      = local.labels
  force_destroy               = true
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true
}
