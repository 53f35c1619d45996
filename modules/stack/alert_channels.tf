# Who is told.

resource "google_monitoring_notification_channel" "main" {
  for_each = var.alert_channels

  project      = var.project_id
  type         = each.value.type
  display_name = "Tallygate ${var.environment}: ${each.key}"
  description  = each.value.pages ? "Takes pages and tickets." : "Takes tickets."
  labels       = each.value.labels
  user_labels  = local.labels
  enabled      = true
  force_delete = false
}

locals {
  # By severity: what can't wait until morning, and what can.
  notification_channels = {
    page   = [for name, channel in var.alert_channels : google_monitoring_notification_channel.main[name].id if channel.pages]
    ticket = [for channel in google_monitoring_notification_channel.main : channel.id]
  }
}
