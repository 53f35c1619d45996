# The public edge: address, certificates, path list, Cloud Armor. Nothing of it with private exposure.

locals {
  _sites = merge(
    { shared = { hosts = toset(var.domains.hosts), service = "tallygate-proxy" } },
    { for tenant, service in var.dedicated_services : tenant => { hosts = service.hosts, service = "tallygate-proxy-${tenant}" } }
  )
  sites = {
    for site, entry in local._sites : site => {
      hosts   = entry.hosts
      service = entry.service
      regions = [for key, service in module.proxy : service.region if startswith(key, "${site}/")]
    }
  }

  # A tenant may call from one address at its full quota, and share that address with a second one.
  requests_per_minute_per_address = coalesce(
    var.exposure.requests_per_minute_per_address, min(1000000, max(600, 2 * local.largest_rpm))
  )
}

module "cloud_armor" {
  source = "../cloud-armor"
  count  = local.is_public ? 1 : 0

  project_id     = var.project_id
  name           = "tallygate"
  labels         = local.labels
  blocked_ranges = var.exposure.blocked_ranges
  rate_limit     = { requests_per_minute = local.requests_per_minute_per_address }
}

module "load_balancer" {
  source = "../load-balancer"
  count  = local.is_public ? 1 : 0

  project_id             = var.project_id
  labels                 = local.labels
  access_log_sample_rate = var.exposure.access_log_sample_rate
  security_policy_id     = module.cloud_armor[0].id
  dns_zone               = var.domains.dns_zone == null ? null : { dns_name = var.domains.dns_zone }
  sites                  = local.sites

  webhook = {
    service = module.stripe_webhook.name
    region  = module.stripe_webhook.region
  }
}
