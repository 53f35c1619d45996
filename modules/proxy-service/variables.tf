variable "configuration" {
  description = "The bucket that holds catalogue and plans, the names of both files in it, and a hash of their content."
  type = object({
    bucket    = string
    catalogue = string
    plans     = string
    sha256    = string
  })
}

variable "deletion_protection" {
  description = "Whether the service refuses to be destroyed."
  type        = bool
  default     = true
  nullable    = false
}

variable "environment" {
  description = "Environment variables of the proxy beside those that follow from other inputs."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "exposure" {
  description = "public: reached through the load balancer alone. private: reached directly, by callers that IAM allows."
  type        = string

  validation {
    condition     = contains(["public", "private"], var.exposure)
    error_message = "exposure must be public (behind the load balancer) or private (for IAM's callers only)."
  }
}

variable "image" {
  description = "The proxy's container image, named by digest."
  type        = string

  validation {
    condition     = can(regex("^[^@\\s]+@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image must be named by digest (…/proxy@sha256: and 64 hexadecimal digits): a tag can come to mean another image."
  }
}

variable "invokers" {
  description = "IAM members that may call the service when it is private, by a name of your choice."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = var.exposure == "private" || length(var.invokers) == 0
    error_message = "invokers are for private exposure: behind the load balancer the proxy itself authenticates every request."
  }

  validation {
    condition     = !anytrue([for member in values(var.invokers) : contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "A private service is not for allUsers or allAuthenticatedUsers: name groups or service accounts, or use public exposure."
  }
}

variable "labels" {
  description = "Labels of the service."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "Name of the service; the log sinks take services named tallygate-proxy, or tallygate-proxy- and more."
  type        = string
  default     = "tallygate-proxy"
  nullable    = false

  validation {
    condition     = can(regex("^tallygate-proxy(-[a-z0-9-]*[a-z0-9])?$", var.name)) && length(var.name) <= 49
    error_message = "The name must be tallygate-proxy, or begin with tallygate-proxy-, and have at most 49 characters: the sinks know the proxy's lines by it."
  }
}

variable "network" {
  description = "Network and subnetwork through which all outgoing traffic leaves; null for Google's shared addresses."
  type = object({
    network    = string
    subnetwork = string
  })
  default = null
}

variable "project_id" {
  description = "Project of the service."
  type        = string
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "request_timeout_seconds" {
  description = "How long one request may take, streams included."
  type        = number
  default     = 900
  nullable    = false

  validation {
    condition     = var.request_timeout_seconds >= 60 && var.request_timeout_seconds <= 3600
    error_message = "request_timeout_seconds must be between 60 (a slow completion) and 3600 (Cloud Run's own limit)."
  }
}

variable "scaling" {
  description = "A profile (dev, standard, latency: profiles.json), and what differs from it."
  type = object({
    profile       = optional(string, "standard")
    min_instances = optional(number)
    max_instances = optional(number)
    concurrency   = optional(number)
    cpu           = optional(string)
    memory        = optional(string)
    cpu_always    = optional(bool)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(keys(local.profiles), var.scaling.profile)
    error_message = "The scaling profile must be one of ${join(", ", keys(local.profiles))}."
  }

  validation {
    condition     = coalesce(var.scaling.concurrency, 1) >= 1 && coalesce(var.scaling.concurrency, 1) <= 1000
    error_message = "concurrency must be between 1 and 1000: leave it out for the profile's own."
  }

  validation {
    condition = try(
      coalesce(var.scaling.max_instances, local.profiles[var.scaling.profile].max_instances) >=
      max(1, coalesce(var.scaling.min_instances, local.profiles[var.scaling.profile].min_instances)),
      true
    )
    error_message = "max_instances must be at least 1 and not below min_instances: raise max_instances or lower min_instances."
  }

  validation {
    condition     = contains(["1", "2", "4", "8"], coalesce(var.scaling.cpu, "1"))
    error_message = "cpu must be 1, 2, 4 or 8: Cloud Run gives no more than one request at a time to less than one CPU."
  }

  validation {
    condition     = can(regex("^[1-9][0-9]*(Mi|Gi)$", coalesce(var.scaling.memory, "1Gi")))
    error_message = "memory must be a number with Mi or Gi, for example 2Gi."
  }
}

variable "secrets" {
  description = "Secrets that the proxy reads as environment variables: by variable, the secret's id and its version number."
  type = map(object({
    secret  = string
    version = string
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for secret in values(var.secrets) : can(regex("^[1-9][0-9]*$", secret.version))])
    error_message = "A secret's version must be its number, not latest: a rotation is a reviewed change, and rolls a revision."
  }
}

variable "service_account_email" {
  description = "The identity that the proxy runs as."
  type        = string
}
