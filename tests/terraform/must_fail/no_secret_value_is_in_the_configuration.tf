resource "google_cloud_run_v2_service" "no_secret_value_is_in_the_configuration" {
  project              = "demo-project"
  name                 = "tallygate-proxy"
  location             = "europe-west1"
  labels               = local.labels
  deletion_protection  = true
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

      env {
        name  = "OPENAI_API_KEY"
        value = "sk-written-here"
      }
    }
  }
}

resource "google_secret_manager_secret_version" "no_secret_value_is_in_the_configuration" {
  secret                 = "projects/demo-project/secrets/openai-api-key"
  secret_data_wo         = "sk-written-here"
  secret_data_wo_version = "1"
}

resource "google_service_account_key" "no_secret_value_is_in_the_configuration" {
  service_account_id = "projects/demo-project/serviceAccounts/some@demo-project.iam.gserviceaccount.com"
}
