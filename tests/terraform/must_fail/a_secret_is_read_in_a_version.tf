resource "google_cloud_run_v2_service" "a_secret_is_read_in_a_version" {
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
        name = "OPENAI_API_KEY"

        value_source {
          secret_key_ref {
            secret  = "openai-api-key"
            version = "latest"
          }
        }
      }
    }
  }
}
