variable "alert_channels" {
  description = "Who is told: by a name of your choice, the channel's type and labels, and whether pages go there or only tickets."
  type = map(object({
    type   = string
    labels = map(string)
    pages  = optional(bool, true)
  }))

  validation {
    condition     = anytrue([for channel in values(var.alert_channels) : channel.pages])
    error_message = "At least one alert channel must take pages: an alert that nobody hears is none."
  }

  validation {
    condition     = alltrue([for channel in values(var.alert_channels) : contains(["email", "pubsub", "google_chat"], channel.type)])
    error_message = "An alert channel must be of type email, pubsub or google_chat: others hold a secret, which would reach Terraform's state."
  }

  validation {
    condition     = alltrue([for channel in values(var.alert_channels) : channel.type != "email" || can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", channel.labels["email_address"]))])
    error_message = "A channel of type email needs labels = { email_address = \"oncall@example.com\" }."
  }
}

variable "artifacts" {
  description = "Where releases are: the registry path of the proxy's image without name and digest, and the bucket of the functions' archives."
  type = object({
    functions_bucket = string
    image_repository = string
  })
}

variable "catalogue" {
  description = "Text of the environment's catalogue.json: models and their prices."
  type        = string

  validation {
    condition     = can(jsondecode(var.catalogue).models) && try(length(jsondecode(var.catalogue).models) > 0, false)
    error_message = "catalogue.json must be a JSON object with at least one entry under models."
  }

  validation {
    condition = alltrue([
      for model in try(values(jsondecode(var.catalogue).models), []) : try(length(model.prices) > 0, false)
    ])
    error_message = "Every model of catalogue.json needs a price, else its usage couldn't be billed; add prices to: ${join(", ", [for name, model in try(jsondecode(var.catalogue).models, {}) : name if !try(length(model.prices) > 0, false)])}."
  }

  validation {
    condition = alltrue(flatten([
      for model in try(values(jsondecode(var.catalogue).models), []) : [
        for price in try(model.prices, []) : [
          for class in ["input", "cached_input", "cache_write", "output"] :
          try(price.pico_usd_per_token[class] >= 0 && floor(price.pico_usd_per_token[class]) == price.pico_usd_per_token[class], false)
        ]
      ]
    ]))
    error_message = "Every price of catalogue.json needs input, cached_input, cache_write and output under pico_usd_per_token, whole numbers from 0 ($0.15 per million tokens is 150000)."
  }

  validation {
    condition = alltrue([
      for model in try(values(jsondecode(var.catalogue).models), []) :
      try(model.provider, "") == "vertex_ai" || try(can(regex("^[A-Z][A-Z0-9_]*$", model.api_key_env)), false)
    ])
    error_message = "Every model of catalogue.json needs api_key_env, the environment variable of its provider's key, for example OPENAI_API_KEY; models of vertex_ai have none."
  }

  validation {
    condition = var.options.vertex_ai != null || alltrue([
      for model in try(values(jsondecode(var.catalogue).models), []) : try(model.provider, "") != "vertex_ai"
    ])
    error_message = "catalogue.json has models of vertex_ai, which the proxy may not call yet: set options.vertex_ai = { location = \"global\" }, or the place where they shall run, for example europe-west4."
  }

  validation {
    condition = alltrue(flatten([
      for model in try(values(jsondecode(var.catalogue).models), []) : [
        for fallback in try(model.fallbacks, []) : try(jsondecode(var.catalogue).models[fallback].mode == model.mode, false)
      ]
    ]))
    error_message = "A fallback in catalogue.json must be another model of the catalogue, of the same mode."
  }
}

variable "dedicated_services" {
  description = "Tenants that get a proxy service of their own: by tenant id, its hosts (public exposure) and how it scales."
  type = map(object({
    hosts = optional(set(string), [])
    scaling = optional(object({
      profile       = optional(string, "standard")
      min_instances = optional(number)
      max_instances = optional(number)
      concurrency   = optional(number)
      cpu           = optional(string)
      memory        = optional(string)
      cpu_always    = optional(bool)
    }), {})
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for tenant in keys(var.dedicated_services) : can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", tenant)) && tenant != "shared"])
    error_message = "A dedicated service is named by its tenant's id: 3 to 24 small letters, digits and dashes, beginning with a letter, not shared."
  }

  validation {
    condition     = alltrue([for service in values(var.dedicated_services) : (length(service.hosts) > 0) == (var.exposure.mode == "public")])
    error_message = "With public exposure a dedicated service needs a host of its own; with private exposure it has none, its URL is an output."
  }

  validation {
    condition = length(var.places.regions) < 2 || alltrue([
      for service in values(var.dedicated_services) :
      try(coalesce(service.scaling.min_instances, local.profiles[service.scaling.profile].min_instances) >= 1, true)
    ])
    error_message = "With two regions or more a dedicated service needs at least one instance in each: set its scaling.min_instances to 1 or more."
  }
}

variable "deletion_protection" {
  description = "Whether everything that holds money or evidence refuses to be destroyed."
  type        = bool
  default     = true
  nullable    = false
}

variable "domains" {
  description = "Hosts that clients call, the main one first (it is watched, and takes Stripe's webhook), and optionally the DNS name of a zone to make for them, with its final dot."
  type = object({
    hosts    = optional(list(string), [])
    dns_zone = optional(string)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.exposure.mode != "public" || length(var.domains.hosts) > 0
    error_message = "Public exposure needs a domain: write domains = { hosts = [\"llm.example.com\"] }, or choose private exposure."
  }

  validation {
    condition     = length(distinct(var.domains.hosts)) == length(var.domains.hosts)
    error_message = "domains.hosts names a host twice: leave one out."
  }

  validation {
    condition     = var.exposure.mode != "private" || (length(var.domains.hosts) == 0 && var.domains.dns_zone == null)
    error_message = "Private exposure has no load balancer and so no domains: leave domains out, callers use the service's own URL."
  }
}

variable "environment" {
  description = "Name of the environment, for labels: dev, staging, prod or another."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "environment must have at most 20 small letters, digits and dashes."
  }
}

variable "exposure" {
  description = "public (load balancer and Cloud Armor) or private (IAM's callers only, listed as invokers), and what the edge limits and logs."
  type = object({
    mode                            = string
    invokers                        = optional(map(string), {})
    access_log_sample_rate          = optional(number, 0.1)
    blocked_ranges                  = optional(list(string), [])
    requests_per_minute_per_address = optional(number)
  })

  validation {
    condition     = contains(["public", "private"], var.exposure.mode)
    error_message = "exposure.mode must be public or private."
  }

  validation {
    condition     = var.exposure.requests_per_minute_per_address == null || try(var.exposure.requests_per_minute_per_address >= local.largest_rpm, true)
    error_message = "requests_per_minute_per_address is below the ${local.largest_rpm} requests a minute of the largest plan: a tenant that calls from one address would be banned within its quota. Raise it, or leave it out."
  }
}

variable "functions_archive" {
  description = "The functions' release: the archive's object and its SHA-256."
  type = object({
    object = string
    sha256 = string
  })
}

variable "image_digest" {
  description = "The proxy's release: the image's digest."
  type        = string

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.image_digest))
    error_message = "image_digest must be a digest (sha256: and 64 hexadecimal digits), not a tag: a tag can come to mean another image."
  }
}

variable "invoicing" {
  description = "How long a period's draft invoice is held for its usage at most, how long a tenant is served while an invoice is unpaid, and from what amount on usage that comes after the last invoice is charged: by a one-off invoice, when so long no more of it has come."
  type = object({
    draft_hold_hours      = optional(number, 6)
    one_off_after_hours   = optional(number, 24)
    one_off_minimum_cents = optional(number, 100)
    unpaid_grace_days     = optional(number, 7)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.invoicing.draft_hold_hours >= 1 && var.invoicing.draft_hold_hours <= 72
    error_message = "draft_hold_hours must be from 1 to 72: Stripe keeps a draft open for no longer by itself."
  }

  validation {
    condition     = var.invoicing.one_off_after_hours >= 1 && var.invoicing.one_off_after_hours <= 720
    error_message = "one_off_after_hours must be from 1 to 720; 24 leaves a day for lines that come late."
  }

  validation {
    condition     = var.invoicing.one_off_minimum_cents >= 0 && var.invoicing.one_off_minimum_cents <= 100000
    error_message = "one_off_minimum_cents must be from 0 to 100000; what costs less is waived, and Stripe charges no card for less than 50."
  }

  validation {
    condition     = var.invoicing.unpaid_grace_days >= 0 && var.invoicing.unpaid_grace_days <= 60
    error_message = "unpaid_grace_days must be from 0 (refused at once) to 60."
  }

  validation {
    condition     = alltrue([for value in values(var.invoicing) : floor(value) == value])
    error_message = "The values of invoicing must be whole numbers."
  }
}

variable "labels" {
  description = "Labels of everything, beside app and environment."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "livemode" {
  description = "Whether Stripe's live mode is used: real invoices."
  type        = bool
}

variable "options" {
  description = "What not every environment wants: a budget alert, usage sent as CloudEvents instead of to Stripe's meters, a key of your own, a viewer for Grafana, Vertex AI."
  type = object({
    budget = optional(object({
      billing_account = string
      monthly_usd     = number
    }))
    cloudevents = optional(object({
      url = string
    }))
    customer_managed_key = optional(object({
      rotation_days = optional(number, 90)
    }))
    grafana = optional(object({
      impersonators = map(string)
    }))
    vertex_ai = optional(object({
      location = string
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.options.vertex_ai == null || try(can(regex("^[a-z]+(-[a-z]+[0-9]+)?$", var.options.vertex_ai.location)), false)
    error_message = "options.vertex_ai.location must be global, eu, us or a region, for example europe-west4."
  }

  validation {
    condition     = var.options.cloudevents == null || try(can(regex("^https://[^/\\s]\\S*$", var.options.cloudevents.url)), false)
    error_message = "options.cloudevents.url must be an https URL, for example https://usage.example.com/api/v1/events: usage is sent there with a token."
  }
}

variable "places" {
  description = "The regions of the proxy (each with an address range where its traffic shall leave from a fixed address), the primary one, which also runs the functions, and where data lies."
  type = object({
    primary_region = string
    regions = map(object({
      egress_range = optional(string)
    }))
    data_location     = string
    database_location = optional(string)
  })

  validation {
    condition     = contains(keys(var.places.regions), var.places.primary_region)
    error_message = "primary_region must be one of regions: write regions = { ${var.places.primary_region} = {} }."
  }

  validation {
    condition     = can(regex("^(EU|US|[a-z]+-[a-z]+[0-9]+)$", var.places.data_location))
    error_message = "data_location must be EU, US or a region, for example europe-west1; it cannot be changed later."
  }

  validation {
    condition = contains(
      concat(local.database_places.multi_regions, local.database_places.regions),
      coalesce(var.places.database_location, lookup({ EU = "eur3", US = "nam5" }, var.places.data_location, var.places.data_location))
    )
    error_message = "Firestore is not in the place that follows from data_location: set places.database_location to ${join(", ", local.database_places.multi_regions)} or to a region that Firestore has, for example europe-west1."
  }

  validation {
    condition     = length(distinct([for region in values(var.places.regions) : region.egress_range != null])) == 1
    error_message = "Give every region an egress_range, or none: else the address that providers see would depend on the region that serves."
  }
}

variable "plans" {
  description = "Text of the environment's plans.json: what tenants can subscribe to."
  type        = string

  validation {
    condition     = can(jsondecode(var.plans).plans) && try(length(jsondecode(var.plans).plans) > 0, false)
    error_message = "plans.json must be a JSON object with at least one entry under plans."
  }

  validation {
    condition = alltrue([
      for plan in try(values(jsondecode(var.plans).plans), []) : !(can(plan.token_prices_cents) && can(plan.markup_percent))
    ])
    error_message = "A plan charges by tokens or by cost, not both: keep token_prices_cents (charge_basis tokens) or markup_percent (charge_basis cost)."
  }

  validation {
    condition = alltrue([
      for plan in try(values(jsondecode(var.plans).plans), []) : try(
        contains(["none", "tokens", "cost"], plan.charge_basis) &&
        (plan.charge_basis == "tokens") == can(plan.token_prices_cents) &&
        (plan.charge_basis == "cost") == can(plan.markup_percent),
        false
      )
    ])
    error_message = "A plan's charge_basis must be none, tokens (with token_prices_cents) or cost (with markup_percent)."
  }

  validation {
    condition = alltrue(flatten([
      for plan in try(values(jsondecode(var.plans).plans), []) : [
        for entry in try(plan.models, []) : anytrue([
          for name, model in try(jsondecode(var.catalogue).models, {}) :
          contains(["*", "class:${try(model.price_class, "")}", name], entry)
        ])
      ]
    ]))
    error_message = "plans.json names models or price classes (class:NAME) that catalogue.json lacks: ${join(", ", distinct(flatten([for plan in try(values(jsondecode(var.plans).plans), []) : [for entry in try(plan.models, []) : entry if !anytrue([for name, model in try(jsondecode(var.catalogue).models, {}) : contains(["*", "class:${try(model.price_class, "")}", name], entry)])]])))}."
  }

  validation {
    condition = alltrue([
      for plan in try(values(jsondecode(var.plans).plans), []) : try(plan.charge_basis, "") != "tokens" || length(distinct(flatten([
        for name, model in try(jsondecode(var.catalogue).models, {}) : concat(
          [try(model.price_class, "")],
          [for fallback in try(model.fallbacks, []) : try(jsondecode(var.catalogue).models[fallback].price_class, "")]
        ) if length(setintersection(try(plan.models, []), ["*", "class:${try(model.price_class, "")}", name])) > 0
      ]))) <= 1
    ])
    error_message = "A plan that charges by tokens must hold models of one price class, fallbacks included: make one plan per class, or charge by cost."
  }

  validation {
    condition = alltrue([
      for plan in try(values(jsondecode(var.plans).plans), []) : try(plan.quotas.rpm >= 1 && plan.quotas.tpm >= 1 && plan.quotas.max_parallel >= 1, false)
    ])
    error_message = "Every plan needs quotas with rpm, tpm and max_parallel, each at least 1."
  }
}

variable "project_id" {
  description = "Project of everything in the environment; it cannot be changed later."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id (6 to 30 small letters, digits and dashes), not its name or number."
  }
}

variable "retention" {
  description = "How long things are kept: raw usage lines in the warehouse, the gateway's logs, and all usage lines as files that nobody can delete meanwhile (0: that can be deleted)."
  type = object({
    raw_days       = optional(number, 400)
    log_days       = optional(number, 30)
    archive_days   = optional(number, 2557) # seven years
    archive_locked = optional(bool, false)
  })
  default  = {}
  nullable = false
}

variable "scaling" {
  description = "How the shared proxy scales: a profile (dev, standard, latency), and what differs from it; and how long one request may take."
  type = object({
    profile                 = optional(string, "standard")
    min_instances           = optional(number)
    max_instances           = optional(number)
    concurrency             = optional(number)
    cpu                     = optional(string)
    memory                  = optional(string)
    cpu_always              = optional(bool)
    request_timeout_seconds = optional(number, 900)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(keys(local.profiles), var.scaling.profile)
    error_message = "scaling.profile must be one of ${join(", ", keys(local.profiles))}."
  }

  validation {
    condition     = coalesce(var.scaling.concurrency, 1) >= 1 && coalesce(var.scaling.concurrency, 1) <= 1000
    error_message = "scaling.concurrency must be between 1 and 1000: leave it out for the profile's own."
  }

  validation {
    condition = try(
      coalesce(var.scaling.max_instances, local.profiles[var.scaling.profile].max_instances) >=
      max(1, coalesce(var.scaling.min_instances, local.profiles[var.scaling.profile].min_instances)),
      true
    )
    error_message = "scaling.max_instances must be at least 1 and not below min_instances: raise max_instances or lower min_instances."
  }

  validation {
    condition = length(var.places.regions) < 2 || try(
      coalesce(var.scaling.min_instances, local.profiles[var.scaling.profile].min_instances) >= 1, true
    )
    error_message = "With two regions or more each needs at least one instance, else nothing can say that it is there when the other fails: set scaling.min_instances to 1 or more, or choose the profile standard or latency."
  }
}

variable "secret_versions" {
  description = "Version number of each provider's key, by the secret's id: api_key_env of the catalogue in small letters with dashes, for example openai-api-key."
  type        = map(string)

  validation {
    condition     = alltrue([for version in values(var.secret_versions) : can(regex("^[1-9][0-9]*$", version))])
    error_message = "A secret's version must be its number, not latest: a rotation is a reviewed change."
  }

  validation {
    condition = length(setsubtract(
      [for model in try(values(jsondecode(var.catalogue).models), []) : lower(replace(model.api_key_env, "_", "-")) if can(model.api_key_env)],
      keys(var.secret_versions)
    )) == 0
    error_message = "The catalogue needs keys that secret_versions lacks: ${join(", ", setsubtract([for model in try(values(jsondecode(var.catalogue).models), []) : lower(replace(model.api_key_env, "_", "-")) if can(model.api_key_env)], keys(var.secret_versions)))}."
  }
}
