# One proxy service in one region.

locals {
  profiles = jsondecode(file("${path.module}/profiles.json"))

  _overrides = { for name, value in var.scaling : name => value if name != "profile" && value != null }
  scaling    = merge(local.profiles[var.scaling.profile], local._overrides)

  is_public = var.exposure == "public"
  mount     = "/etc/tallygate"

  environment = merge(var.environment, {
    TALLYGATE_CATALOGUE   = "${local.mount}/${var.configuration.catalogue}"
    TALLYGATE_CONCURRENCY = tostring(local.scaling.concurrency)
    TALLYGATE_PROJECT_ID  = var.project_id
  })

  port = 8080
}

resource "google_cloud_run_v2_service" "main" {
  project             = var.project_id
  name                = var.name
  location            = var.region
  description         = "The LLM gateway's proxy: authenticates, limits, forwards and meters."
  labels              = var.labels
  launch_stage        = "GA"
  deletion_protection = var.deletion_protection

  # Public: only the load balancer reaches it, so that nobody passes Cloud Armor by. The invoker check is off,
  # because clients present a tenant key, which the proxy itself checks on every request.
  ingress              = local.is_public ? "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" : "INGRESS_TRAFFIC_ALL"
  default_uri_disabled = local.is_public
  invoker_iam_disabled = local.is_public

  template {
    service_account                  = var.service_account_email
    timeout                          = "${var.request_timeout_seconds}s"
    max_instance_request_concurrency = local.scaling.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    session_affinity                 = false
    labels                           = var.labels

    # A change of catalogue or plans rolls a revision: its instances read them when they start.
    annotations = { "tallygate/configuration-sha256" = var.configuration.sha256 }

    scaling {
      min_instance_count = local.scaling.min_instances
      max_instance_count = local.scaling.max_instances
    }

    dynamic "vpc_access" {
      for_each = var.network == null ? [] : [var.network]

      content {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
        }
      }
    }

    volumes {
      name = "configuration"

      gcs {
        bucket    = var.configuration.bucket
        read_only = true
      }
    }

    containers {
      name  = "proxy"
      image = var.image

      ports {
        name           = "http1"
        container_port = local.port
      }

      resources {
        limits            = { cpu = local.scaling.cpu, memory = local.scaling.memory }
        cpu_idle          = !local.scaling.cpu_always
        startup_cpu_boost = true
      }

      volume_mounts {
        name       = "configuration"
        mount_path = local.mount
      }

      dynamic "env" {
        for_each = local.environment

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      # LiteLLM takes seconds to import; two minutes are the limit of patience.
      startup_probe {
        initial_delay_seconds = 0
        period_seconds        = 1
        timeout_seconds       = 1
        failure_threshold     = 120

        http_get {
          path = "/health"
          port = local.port
        }
      }

      liveness_probe {
        initial_delay_seconds = 0
        period_seconds        = 30
        timeout_seconds       = 5
        failure_threshold     = 3

        http_get {
          path = "/health"
          port = local.port
        }
      }

      # Tells the load balancer which region serves. Asks neither database nor provider: their trouble is no reason
      # to take an instance out.
      readiness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3

        http_get {
          path = "/ready"
          port = local.port
        }
      }
    }
  }

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = var.invokers

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.main.name
  role     = "roles/run.invoker"
  member   = each.value
}
