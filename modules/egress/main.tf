# Outgoing traffic through a network of its own, from one fixed address per region, for providers that let only known
# addresses in. This is billed by the hour.

resource "google_compute_network" "main" {
  project                 = var.project_id
  name                    = "tallygate-egress"
  description             = "Outgoing traffic of the proxies."
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "region" {
  for_each = var.subnetworks

  project                  = var.project_id
  name                     = "tallygate-egress-${each.key}"
  description              = "Direct VPC egress of the proxies in ${each.key}."
  region                   = each.key
  network                  = google_compute_network.main.id
  ip_cidr_range            = each.value
  purpose                  = "PRIVATE"
  stack_type               = "IPV4_ONLY"
  private_ip_google_access = true # Google's own APIs don't go through the fixed address
}

resource "google_compute_firewall" "no_ingress" {
  project       = var.project_id
  name          = "tallygate-egress-no-ingress"
  description   = "Nothing comes in."
  network       = google_compute_network.main.name
  direction     = "INGRESS"
  priority      = 1000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

resource "google_compute_router" "region" {
  for_each = var.subnetworks

  project     = var.project_id
  name        = "tallygate-egress-${each.key}"
  description = "Holds the NAT."
  region      = each.key
  network     = google_compute_network.main.id
}

resource "google_compute_address" "region" {
  for_each = var.subnetworks

  project      = var.project_id
  name         = "tallygate-egress-${each.key}"
  description  = "The address that providers see."
  region       = each.key
  address_type = "EXTERNAL"
  labels       = var.labels
  network_tier = "PREMIUM"
}

resource "google_compute_router_nat" "region" {
  for_each = var.subnetworks

  project                            = var.project_id
  name                               = "tallygate-egress-${each.key}"
  region                             = each.key
  router                             = google_compute_router.region[each.key].name
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.region[each.key].self_link]
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  # A stream holds a port for minutes; an instance that runs out of them fails requests.
  enable_dynamic_port_allocation      = true
  enable_endpoint_independent_mapping = false
  min_ports_per_vm                    = 256
  max_ports_per_vm                    = 4096

  subnetwork {
    name                    = google_compute_subnetwork.region[each.key].id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
