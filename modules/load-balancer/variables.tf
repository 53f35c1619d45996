variable "access_log_sample_rate" {
  description = "Share of requests, 0 to 1, that the load balancer logs; the proxy's own lines are complete without it."
  type        = number
  default     = 0.1
  nullable    = false

  validation {
    condition     = var.access_log_sample_rate >= 0 && var.access_log_sample_rate <= 1
    error_message = "access_log_sample_rate must be between 0 (no access log) and 1 (every request)."
  }
}

variable "dns_zone" {
  description = "Zone to make for the hosts, its DNS name with the final dot; null where the hosts' DNS is elsewhere."
  type = object({
    dns_name = string
  })
  default = null

  validation {
    condition     = try(endswith(var.dns_zone.dns_name, "."), true)
    error_message = "dns_zone.dns_name must end with a dot, for example llm.example.com."
  }
}

variable "labels" {
  description = "Labels of what takes labels: forwarding rules, certificates, the zone."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "project_id" {
  description = "Project of the load balancer."
  type        = string
}

variable "security_policy_id" {
  description = "Cloud Armor policy of all backends."
  type        = string
}

variable "sites" {
  description = "What is served where: by site, its hosts, the Cloud Run service that serves them, and that service's regions."
  type = map(object({
    hosts   = set(string)
    service = string
    regions = set(string)
  }))

  validation {
    condition     = alltrue([for site in values(var.sites) : length(site.hosts) > 0])
    error_message = "Every site needs a host: name the domain that its clients call, for example llm.example.com."
  }

  validation {
    condition     = alltrue([for host in flatten([for site in values(var.sites) : site.hosts]) : can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", host))])
    error_message = "A host must be a full domain name in small letters, without scheme, port or wildcard, for example llm.example.com."
  }

  validation {
    condition     = length(flatten([for site in values(var.sites) : tolist(site.hosts)])) == length(distinct(flatten([for site in values(var.sites) : tolist(site.hosts)])))
    error_message = "A host belongs to one site: give every dedicated service a host of its own."
  }

  validation {
    condition     = contains(keys(var.sites), "shared")
    error_message = "One site must be called shared: it also takes Stripe's webhook."
  }
}

variable "webhook" {
  description = "The Cloud Run service, with its region, that takes Stripe's webhook on the hosts of the shared site."
  type = object({
    service = string
    region  = string
  })
}
