resource "google_cloud_run_v2_service" "every_service_has_an_identity_of_its_own" {
  project              = "demo-project"
  name                 = "tallygate-proxy"
  location             = "europe-west1"
  labels               = local.labels
  deletion_protection  = true
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_uri_disabled = true
  invoker_iam_disabled = true

  template {
    service_account = "123456789012-compute@developer.gserviceaccount.com"
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
