# Passed on to modules/stack, whose README describes each value and whose validations say what is wrong with one.

variable "alert_channels" {
  description = "Who is told, by a name of your choice: type, labels, and whether pages go there or only tickets."
  type        = any
}

variable "artifacts" {
  description = "Where releases are: image_repository and functions_bucket."
  type        = any
}

variable "dedicated_services" {
  description = "Tenants that get a proxy service of their own, by tenant id."
  type        = any
  default     = {}
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
}

variable "environment" {
  description = "Name of the environment, for labels."
  type        = string
}

variable "exposure" {
  description = "public or private, who may call, and what the edge limits and logs."
  type        = any
}

variable "functions_archive" {
  description = "The functions' release, from release.auto.tfvars.json: object and sha256."
  type        = any
}

variable "image_digest" {
  description = "The proxy's release, from release.auto.tfvars.json."
  type        = string
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
  description = "What not every environment wants: budget, customer_managed_key, grafana, vertex_ai."
  type        = any
  default     = {}
}

variable "places" {
  description = "The proxy's regions, the primary one, and where data lies (which cannot be changed later)."
  type        = any
}

variable "project_id" {
  description = "Project of everything in the environment; it cannot be changed later."
  type        = string
}

variable "retention" {
  description = "How long raw lines, logs and the archive are kept."
  type        = any
  default     = {}
}

variable "scaling" {
  description = "How the shared proxy scales: profile dev, standard or latency, and what differs from it."
  type        = any
  default     = {}
}

variable "secret_versions" {
  description = "Version number of each provider's key, by the secret's id."
  type        = map(string)
}
