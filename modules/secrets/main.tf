# Containers of secrets. No value passes through Terraform: an operator adds each by the command line, once.

resource "google_secret_manager_secret" "main" {
  for_each = var.names

  project             = var.project_id
  secret_id           = each.key
  labels              = var.labels
  version_destroy_ttl = "${var.version_destroy_delay_days * 24 * 60 * 60}s"
  deletion_protection = var.deletion_protection

  replication {
    dynamic "auto" {
      for_each = length(var.locations) == 0 ? [true] : []

      content {}
    }

    dynamic "user_managed" {
      for_each = length(var.locations) == 0 ? [] : [true]

      content {
        dynamic "replicas" {
          for_each = var.locations

          content {
            location = replicas.value
          }
        }
      }
    }
  }
}
