# Optional: outgoing traffic from a fixed address per region, where every region has an egress_range.

locals {
  egress_ranges = {
    for region, place in var.places.regions : region => place.egress_range if place.egress_range != null
  }
  has_egress = length(local.egress_ranges) > 0

  networks = {
    for region in keys(var.places.regions) : region => local.has_egress ? module.egress[0].networks[region] : null
  }
}

module "egress" {
  source = "../egress"
  count  = local.has_egress ? 1 : 0

  project_id  = var.project_id
  labels      = local.labels
  subnetworks = local.egress_ranges
}
