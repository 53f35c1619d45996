resource "google_cloud_run_v2_service" "a_service_open_to_the_internet_is_checked_open" {
  project              = "demo-project"
  name                 = "tallygate-proxy"
  location             = "europe-west1"
  labels               = local.labels
  deletion_protection  = true
  ingress              = "INGRESS_TRAFFIC_ALL"
  default_uri_disabled = false
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

resource "google_cloud_run_v2_service" "a_service_open_to_the_internet_is_checked_bypass" {
  project              = "demo-project"
  name                 = "tallygate-proxy"
  location             = "europe-west1"
  labels               = local.labels
  deletion_protection  = true
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_uri_disabled = false
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
