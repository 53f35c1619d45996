# A zone of its own for the hosts, where one is wanted. Where the hosts' DNS is elsewhere, the output dns_records says
# what to write there.

locals {
  _zones = var.dns_zone == null ? {} : { main = var.dns_zone }

  hosts_in_zone = var.dns_zone == null ? toset([]) : toset([
    for host in local.hosts : host if endswith(".${host}.", ".${var.dns_zone.dns_name}")
  ])
}

resource "google_dns_managed_zone" "main" {
  for_each = local._zones

  project       = var.project_id
  name          = "tallygate"
  description   = "The gateway's hosts."
  dns_name      = each.value.dns_name
  visibility    = "public"
  force_destroy = false
  labels        = var.labels

  dnssec_config {
    state = "on"
  }
}

resource "google_dns_record_set" "address" {
  for_each = local.hosts_in_zone

  project      = var.project_id
  managed_zone = google_dns_managed_zone.main["main"].name
  name         = "${each.key}."
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_global_address.main.address]
}

resource "google_dns_record_set" "authorization" {
  for_each = local.hosts_in_zone

  project      = var.project_id
  managed_zone = google_dns_managed_zone.main["main"].name
  name         = google_certificate_manager_dns_authorization.host[each.key].dns_resource_record[0].name
  type         = google_certificate_manager_dns_authorization.host[each.key].dns_resource_record[0].type
  ttl          = 300
  rrdatas      = [google_certificate_manager_dns_authorization.host[each.key].dns_resource_record[0].data]
}
