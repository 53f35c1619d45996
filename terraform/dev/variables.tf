# Passed on to modules/stack, whose README describes each value and whose validations say what is wrong with one.
# What is checked here is spelling: Terraform drops what an object's type does not name, without a word.

variable "alert_channels" {
  description = "Who is told, by a name of your choice: type, labels, and whether pages go there or only tickets."
  type        = any

  validation {
    condition     = length(setsubtract(flatten([for entry in values(var.alert_channels) : keys(entry)]), ["labels", "pages", "type"])) == 0
    error_message = "Each entry of alert_channels takes labels, pages, type; write one of them instead of ${join(", ", setsubtract(flatten([for entry in values(var.alert_channels) : keys(entry)]), ["labels", "pages", "type"]))}."
  }
}

variable "artifacts" {
  description = "Where releases are: image_repository and functions_bucket."
  type        = any

  validation {
    condition     = length(setsubtract(keys(var.artifacts), ["functions_bucket", "image_repository"])) == 0
    error_message = "artifacts takes functions_bucket, image_repository; write one of them instead of ${join(", ", setsubtract(keys(var.artifacts), ["functions_bucket", "image_repository"]))}."
  }
}

variable "dedicated_services" {
  description = "Tenants that get a proxy service of their own, by tenant id."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(flatten([for entry in values(var.dedicated_services) : keys(entry)]), ["hosts", "scaling"])) == 0
    error_message = "Each entry of dedicated_services takes hosts, scaling; write one of them instead of ${join(", ", setsubtract(flatten([for entry in values(var.dedicated_services) : keys(entry)]), ["hosts", "scaling"]))}."
  }
}

variable "deletion_protection" {
  description = "Whether everything that holds money or evidence refuses to be destroyed."
  type        = bool
  default     = true
}

variable "domains" {
  description = "Hosts that clients call, and optionally a DNS zone to make for them."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.domains), ["dns_zone", "hosts"])) == 0
    error_message = "domains takes dns_zone, hosts; write one of them instead of ${join(", ", setsubtract(keys(var.domains), ["dns_zone", "hosts"]))}."
  }
}

variable "environment" {
  description = "Name of the environment, for labels."
  type        = string
}

variable "exposure" {
  description = "public or private, who may call, and what the edge limits and logs."
  type        = any

  validation {
    condition     = length(setsubtract(keys(var.exposure), ["access_log_sample_rate", "blocked_ranges", "invokers", "mode", "requests_per_minute_per_address"])) == 0
    error_message = "exposure takes access_log_sample_rate, blocked_ranges, invokers, mode, requests_per_minute_per_address; write one of them instead of ${join(", ", setsubtract(keys(var.exposure), ["access_log_sample_rate", "blocked_ranges", "invokers", "mode", "requests_per_minute_per_address"]))}."
  }
}

variable "functions_archive" {
  description = "The functions' release, from release.auto.tfvars.json: object and sha256."
  type        = any

  validation {
    condition     = length(setsubtract(keys(var.functions_archive), ["object", "sha256"])) == 0
    error_message = "functions_archive takes object, sha256; write one of them instead of ${join(", ", setsubtract(keys(var.functions_archive), ["object", "sha256"]))}."
  }
}

variable "image_digest" {
  description = "The proxy's release, from release.auto.tfvars.json."
  type        = string
}

variable "invoicing" {
  description = "How long drafts are held and unpaid tenants served, and what usage after the last invoice is charged."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.invoicing), ["draft_hold_hours", "one_off_after_hours", "one_off_minimum_cents", "unpaid_grace_days"])) == 0
    error_message = "invoicing takes draft_hold_hours, one_off_after_hours, one_off_minimum_cents, unpaid_grace_days; write one of them instead of ${join(", ", setsubtract(keys(var.invoicing), ["draft_hold_hours", "one_off_after_hours", "one_off_minimum_cents", "unpaid_grace_days"]))}."
  }
}

variable "labels" {
  description = "Labels of everything, beside app and environment."
  type        = map(string)
  default     = {}
}

variable "livemode" {
  description = "Whether Stripe's live mode is used: real invoices."
  type        = bool
}

variable "options" {
  description = "What not every environment wants: budget, cloudevents, customer_managed_key, grafana, vertex_ai."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.options), ["budget", "cloudevents", "customer_managed_key", "grafana", "vertex_ai"])) == 0
    error_message = "options takes budget, cloudevents, customer_managed_key, grafana, vertex_ai; write one of them instead of ${join(", ", setsubtract(keys(var.options), ["budget", "cloudevents", "customer_managed_key", "grafana", "vertex_ai"]))}."
  }
}

variable "places" {
  description = "The proxy's regions, the primary one, and where data lies (which cannot be changed later)."
  type        = any

  validation {
    condition     = length(setsubtract(keys(var.places), ["data_location", "database_location", "primary_region", "regions"])) == 0
    error_message = "places takes data_location, database_location, primary_region, regions; write one of them instead of ${join(", ", setsubtract(keys(var.places), ["data_location", "database_location", "primary_region", "regions"]))}."
  }
}

variable "project_id" {
  description = "Project of everything in the environment; it cannot be changed later."
  type        = string
}

variable "retention" {
  description = "How long raw lines, logs and the archive are kept."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.retention), ["archive_days", "archive_locked", "log_days", "raw_days"])) == 0
    error_message = "retention takes archive_days, archive_locked, log_days, raw_days; write one of them instead of ${join(", ", setsubtract(keys(var.retention), ["archive_days", "archive_locked", "log_days", "raw_days"]))}."
  }
}

variable "scaling" {
  description = "How the shared proxy scales: profile dev, standard or latency, and what differs from it."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.scaling), ["concurrency", "cpu", "cpu_always", "max_instances", "memory", "min_instances", "profile", "request_timeout_seconds"])) == 0
    error_message = "scaling takes concurrency, cpu, cpu_always, max_instances, memory, min_instances, profile, request_timeout_seconds; write one of them instead of ${join(", ", setsubtract(keys(var.scaling), ["concurrency", "cpu", "cpu_always", "max_instances", "memory", "min_instances", "profile", "request_timeout_seconds"]))}."
  }
}

variable "secret_versions" {
  description = "Version number of each provider's key, by the secret's id."
  type        = map(string)
}
