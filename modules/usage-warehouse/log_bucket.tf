# The gateway's own logs, kept where the data is. They are excluded from the project's _Default bucket, so that nothing
# is kept twice; log-based metrics count excluded entries too.

resource "google_logging_project_bucket_config" "main" {
  project          = var.project_id
  location         = var.log_bucket.location
  bucket_id        = "tallygate"
  description      = "Logs of the gateway's services."
  retention_days   = var.log_bucket.retention_days
  enable_analytics = true
  locked           = false

  dynamic "cmek_settings" {
    for_each = var.kms_key_name == null ? [] : [var.kms_key_name]

    content {
      kms_key_name = cmek_settings.value
    }
  }
}

resource "google_logging_project_sink" "log_bucket" {
  project                = var.project_id
  name                   = "tallygate-logs"
  description            = "Logs of the gateway's services, to their own bucket."
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.main.id}"
  filter                 = file("${path.module}/gateway.lql")
  unique_writer_identity = true # writes a bucket of its own project without a grant
}

resource "google_logging_project_exclusion" "default" {
  project     = var.project_id
  name        = "tallygate-kept-elsewhere"
  description = "The gateway's logs are in the bucket tallygate."
  filter      = file("${path.module}/gateway.lql")
  disabled    = false

  depends_on = [google_logging_project_sink.log_bucket]
}
