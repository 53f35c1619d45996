# The proxy: one identity, one shared service per region, and services of tenants that don't share.

resource "google_service_account" "proxy" {
  project      = var.project_id
  account_id   = "tallygate-proxy"
  display_name = "Tallygate proxy"
  description  = "Runs the gateway: reads tenants and keys, writes spend; its usage lines go out on stdout."
}

resource "google_project_iam_member" "proxy_database" {
  project = var.project_id
  role    = "roles/datastore.user"
  member  = google_service_account.proxy.member

  condition {
    title       = "the gateway's database"
    description = "No other database of the project."
    expression  = local.database_condition
  }
}

resource "google_project_iam_member" "proxy_secret" {
  for_each = local.provider_secrets

  project = var.project_id
  role    = "roles/secretmanager.secretAccessor"
  member  = google_service_account.proxy.member

  condition {
    title       = "the secret ${each.key}"
    description = "No other secret of the project."
    expression  = local.secret_conditions[each.key]
  }
}

locals {
  # Key of a service: site/region.
  _shared_services = {
    for region in keys(var.places.regions) : "shared/${region}" => {
      name    = "tallygate-proxy"
      region  = region
      scaling = var.scaling
      hosts   = toset(var.domains.hosts)
    }
  }
  _dedicated_services = merge([
    for tenant, service in var.dedicated_services : {
      for region in keys(var.places.regions) : "${tenant}/${region}" => {
        name    = "tallygate-proxy-${tenant}"
        region  = region
        scaling = service.scaling
        hosts   = service.hosts
      }
    }
  ]...)
  proxy_services = merge(local._shared_services, local._dedicated_services)

  all_hosts = sort(setunion(var.domains.hosts, flatten([for service in values(var.dedicated_services) : tolist(service.hosts)])))

  proxy_environment = merge(
    {
      TALLYGATE_APP_DATABASE = module.app_database.setting
      TALLYGATE_IAM_ENFORCED = tostring(!local.is_public)
    },
    var.options.vertex_ai == null ? {} : { TALLYGATE_VERTEX_LOCATION = var.options.vertex_ai.location }
  )

  # Audiences of the identity tokens that a service verifies itself: its own hosts. With private exposure there are
  # none to name: the platform has checked the token, whose audience is any address that Cloud Run gives the service.
  proxy_audiences = {
    for key, service in local.proxy_services : key =>
    local.is_public ? { TALLYGATE_IAM_AUDIENCES = join(",", [for host in sort(service.hosts) : "https://${host}"]) } : {}
  }
}

module "proxy" {
  source   = "../proxy-service"
  for_each = local.proxy_services

  project_id              = var.project_id
  region                  = each.value.region
  name                    = each.value.name
  image                   = "${var.artifacts.image_repository}/proxy@${var.image_digest}"
  labels                  = local.labels
  deletion_protection     = var.deletion_protection
  exposure                = var.exposure.mode
  invokers                = var.exposure.invokers
  service_account_email   = google_service_account.proxy.email
  request_timeout_seconds = var.scaling.request_timeout_seconds
  environment             = merge(local.proxy_environment, local.proxy_audiences[each.key])
  secrets                 = local.provider_keys
  network                 = local.networks[each.value.region]

  scaling = {
    profile       = each.value.scaling.profile
    min_instances = each.value.scaling.min_instances
    max_instances = each.value.scaling.max_instances
    concurrency   = each.value.scaling.concurrency
    cpu           = each.value.scaling.cpu
    memory        = each.value.scaling.memory
    cpu_always    = each.value.scaling.cpu_always
  }

  configuration = {
    bucket    = module.configuration.bucket
    catalogue = local.catalogue_file
    plans     = local.plans_file
    sha256    = module.configuration.sha256
  }

  # A revision starts only if its identity may read its secrets and its database; and what reads its lines is
  # there before it is.
  depends_on = [
    google_project_iam_member.proxy_database,
    google_project_iam_member.proxy_secret,
    module.usage_warehouse,
  ]
}
