# The address, and what listens there: HTTPS with a modern policy, and HTTP that only points to it.

resource "google_compute_global_address" "main" {
  project      = var.project_id
  name         = "tallygate"
  description  = "The gateway's address."
  address_type = "EXTERNAL"
  ip_version   = "IPV4"
  labels       = var.labels
}

resource "google_compute_ssl_policy" "main" {
  project         = var.project_id
  name            = "tallygate"
  description     = "TLS 1.2 and later, with modern ciphers."
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_target_https_proxy" "main" {
  project         = var.project_id
  name            = "tallygate"
  url_map         = google_compute_url_map.main.id
  ssl_policy      = google_compute_ssl_policy.main.id
  certificate_map = "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.main.id}"
  quic_override   = "NONE"
}

resource "google_compute_global_forwarding_rule" "https" {
  project               = var.project_id
  name                  = "tallygate-https"
  description           = "Clients."
  target                = google_compute_target_https_proxy.main.id
  ip_address            = google_compute_global_address.main.id
  ip_protocol           = "TCP"
  port_range            = "443"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  network_tier          = "PREMIUM"
  labels                = var.labels
}

resource "google_compute_url_map" "redirect" {
  project     = var.project_id
  name        = "tallygate-redirect"
  description = "HTTP to HTTPS."

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "redirect" {
  project = var.project_id
  name    = "tallygate-redirect"
  url_map = google_compute_url_map.redirect.id
}

resource "google_compute_global_forwarding_rule" "http" {
  project               = var.project_id
  name                  = "tallygate-http"
  description           = "Clients that forgot the s."
  target                = google_compute_target_http_proxy.redirect.id
  ip_address            = google_compute_global_address.main.id
  ip_protocol           = "TCP"
  port_range            = "80"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  network_tier          = "PREMIUM"
  labels                = var.labels
}
