resource "google_cloud_run_v2_service" "only_listed_services_skip_the_invoker_check_other" {
  project              = "demo-project"
  name                 = "tallygate-usage-reporter"
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

    }
  }
}

resource "google_cloud_run_v2_service" "only_listed_services_skip_the_invoker_check_unwritten" {
  project              = "demo-project"
  name                 = "tallygate-proxy"
  location             = "europe-west1"
  labels               = local.labels
  deletion_protection  = true
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_uri_disabled = true

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
