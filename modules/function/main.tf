# One function: a Cloud Run service that Google builds from the functions' source archive.

locals {
  runtime = "python311" # the version that the hashed requirements are resolved for
  image   = "${var.build.repository}/${var.name}"

  # Buildpacks' base image, which Google keeps patched under a function that runs.
  base_image = "${var.region}-docker.pkg.dev/serverless-runtimes/google-22/runtimes/${local.runtime}"

  ingress = {
    internal = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    edge     = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    open     = "INGRESS_TRAFFIC_ALL"
  }[var.exposure]

  is_public = var.exposure != "internal"
  mount     = "/etc/tallygate"

  # Names of the environment's own files stand in the environment; this only says that their content changed.
  annotations = var.configuration == null ? {} : {
    "tallygate/configuration-sha256" = var.configuration.sha256
  }
}

resource "google_cloud_run_v2_service" "main" {
  project             = var.project_id
  name                = var.name
  location            = var.region
  description         = "The function ${var.entry_point}."
  labels              = var.labels
  launch_stage        = "GA"
  deletion_protection = var.deletion_protection

  # A public function authenticates its callers itself (Stripe by its signature). The check is switched off, rather
  # than allUsers granted, because many organisations forbid that grant.
  ingress              = local.ingress
  default_uri_disabled = var.exposure == "edge"
  invoker_iam_disabled = local.is_public

  build_config {
    source_location          = "gs://${var.archive.bucket}/${var.archive.object}"
    function_target          = var.entry_point
    image_uri                = local.image
    base_image               = local.base_image
    enable_automatic_updates = true
    service_account          = var.build.service_account
  }

  template {
    service_account                  = var.service_account_email
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.resources.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    session_affinity                 = false
    labels                           = var.labels
    annotations                      = local.annotations

    scaling {
      min_instance_count = var.resources.min_instances
      max_instance_count = var.resources.max_instances
    }

    dynamic "volumes" {
      for_each = var.configuration == null ? [] : [var.configuration]

      content {
        name = "configuration"

        gcs {
          bucket    = volumes.value.bucket
          read_only = true
        }
      }
    }

    containers {
      name           = "function"
      image          = local.image
      base_image_uri = local.base_image

      ports {
        name           = "http1"
        container_port = 8080
      }

      resources {
        limits            = { cpu = var.resources.cpu, memory = var.resources.memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      dynamic "volume_mounts" {
        for_each = var.configuration == null ? [] : [var.configuration]

        content {
          name       = "configuration"
          mount_path = local.mount
        }
      }

      # functions-framework serves with four threads for each CPU unless told: requests beyond would wait unseen.
      env {
        name  = "THREADS"
        value = tostring(var.resources.concurrency)
      }

      dynamic "env" {
        for_each = var.environment

        content {
          name  = env.key
          value = env.value
        }
      }

      startup_probe {
        initial_delay_seconds = 0
        period_seconds        = 10
        timeout_seconds       = 10
        failure_threshold     = 6

        tcp_socket {
          port = 8080
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
