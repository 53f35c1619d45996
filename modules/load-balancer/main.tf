# From the address to the services: what is served, and where each path goes. Everything else gets 404 at the edge.

locals {
  _paths = jsondecode(file("${path.module}/paths.json")).paths

  # A versioned path is served with and without /v1.
  proxy_paths = sort(flatten([
    for entry in local._paths : entry.versioned ? [entry.path, "/v1${entry.path}"] : [entry.path]
  ]))

  webhook_path = "/webhooks/stripe"

  _site_regions = flatten([
    for site, entry in var.sites : [
      for region in entry.regions : { site = site, service = entry.service, region = region }
    ]
  ])
  groups = { for group in local._site_regions : "${group.site}/${group.region}" => group }

  groups_of_site = {
    for site in keys(var.sites) : site => {
      for key, group in local.groups : key => group if group.site == site
    }
  }

  hosts = toset(flatten([for site in values(var.sites) : tolist(site.hosts)]))
}

resource "google_compute_region_network_endpoint_group" "site" {
  for_each = local.groups

  project               = var.project_id
  name                  = "tallygate-${each.value.site}-${each.value.region}"
  region                = each.value.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = each.value.service
  }
}

resource "google_compute_region_network_endpoint_group" "webhook" {
  project               = var.project_id
  name                  = "tallygate-stripe-webhook-${var.webhook.region}"
  region                = var.webhook.region
  network_endpoint_type = "SERVERLESS"

  # A function is a Cloud Run service: the kind cloud_function is for the first generation.
  cloud_run {
    service = var.webhook.service
  }
}

# No timeout, port name or health check: for a serverless backend each of them is an error. Requests are timed by
# Cloud Run, whose readiness probes say which region serves.
resource "google_compute_backend_service" "site" {
  for_each = var.sites

  project                         = var.project_id
  name                            = "tallygate-${each.key}"
  description                     = "The proxy that serves ${join(", ", each.value.hosts)}."
  load_balancing_scheme           = "EXTERNAL_MANAGED"
  protocol                        = "HTTPS"
  session_affinity                = "NONE"
  security_policy                 = var.security_policy_id
  connection_draining_timeout_sec = 300
  custom_response_headers         = ["Strict-Transport-Security: max-age=31536000"]

  dynamic "backend" {
    for_each = local.groups_of_site[each.key]

    content {
      group           = google_compute_region_network_endpoint_group.site[backend.key].id
      balancing_mode  = "UTILIZATION"
      capacity_scaler = 1
    }
  }

  log_config {
    enable      = var.access_log_sample_rate > 0
    sample_rate = var.access_log_sample_rate
  }
}

resource "google_compute_backend_service" "webhook" {
  project                         = var.project_id
  name                            = "tallygate-stripe-webhook"
  description                     = "The function that takes Stripe's webhook; it checks Stripe's signature."
  load_balancing_scheme           = "EXTERNAL_MANAGED"
  protocol                        = "HTTPS"
  session_affinity                = "NONE"
  security_policy                 = var.security_policy_id
  connection_draining_timeout_sec = 300

  backend {
    group           = google_compute_region_network_endpoint_group.webhook.id
    balancing_mode  = "UTILIZATION"
    capacity_scaler = 1
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_url_map" "main" {
  project     = var.project_id
  name        = "tallygate"
  description = "The paths of paths.json go to the proxies, Stripe's webhook to its function, everything else is 404."

  # Unknown hosts.
  default_route_action {
    fault_injection_policy {
      abort {
        http_status = 404
        percentage  = 100
      }
    }

    weighted_backend_services {
      backend_service = google_compute_backend_service.site["shared"].id
      weight          = 100
    }
  }

  dynamic "host_rule" {
    for_each = var.sites

    content {
      hosts        = host_rule.value.hosts
      path_matcher = host_rule.key
    }
  }

  dynamic "path_matcher" {
    for_each = var.sites

    content {
      name = path_matcher.key

      # Unknown paths.
      default_route_action {
        fault_injection_policy {
          abort {
            http_status = 404
            percentage  = 100
          }
        }

        weighted_backend_services {
          backend_service = google_compute_backend_service.site[path_matcher.key].id
          weight          = 100
        }
      }

      path_rule {
        paths   = local.proxy_paths
        service = google_compute_backend_service.site[path_matcher.key].id
      }

      dynamic "path_rule" {
        for_each = path_matcher.key == "shared" ? [local.webhook_path] : []

        content {
          paths   = [path_rule.value]
          service = google_compute_backend_service.webhook.id
        }
      }
    }
  }
}
