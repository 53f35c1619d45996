# One certificate and one map entry per host, so that adding a host touches no other. DNS authorization: a certificate
# is there before the host's address points here.

locals {
  # Resource names hold no dots, and a-b.example and a.b.example must not share one.
  certificate_names = {
    for host in local.hosts : host => "${substr(replace(host, ".", "-"), 0, 50)}-${substr(sha256(host), 0, 6)}"
  }
}

resource "google_certificate_manager_certificate_map" "main" {
  project     = var.project_id
  name        = "tallygate"
  description = "The gateway's hosts."
  labels      = var.labels
}

resource "google_certificate_manager_dns_authorization" "host" {
  for_each = local.certificate_names

  project     = var.project_id
  name        = "tg-${each.value}"
  description = "Shows that ${each.key} is ours."
  domain      = each.key
  type        = "FIXED_RECORD"
  labels      = var.labels
}

resource "google_certificate_manager_certificate" "host" {
  for_each = local.certificate_names

  project     = var.project_id
  name        = "tg-${each.value}"
  description = "Certificate of ${each.key}."
  scope       = "DEFAULT"
  labels      = var.labels

  managed {
    domains            = [each.key]
    dns_authorizations = [google_certificate_manager_dns_authorization.host[each.key].id]
  }
}

resource "google_certificate_manager_certificate_map_entry" "host" {
  for_each = local.certificate_names

  project      = var.project_id
  name         = "tg-${each.value}"
  description  = "Certificate of ${each.key}."
  map          = google_certificate_manager_certificate_map.main.name
  hostname     = each.key
  certificates = [google_certificate_manager_certificate.host[each.key].id]
  labels       = var.labels
}
