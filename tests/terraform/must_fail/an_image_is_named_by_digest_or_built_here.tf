resource "google_cloud_run_v2_service" "an_image_is_named_by_digest_or_built_here" {
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
      image = "europe-docker.pkg.dev/demo-project/tallygate/proxy:latest"
      resources {
        limits   = { cpu = "1", memory = "1Gi" }
        cpu_idle = true
      }

    }
  }
}
