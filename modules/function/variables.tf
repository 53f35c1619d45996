variable "archive" {
  description = "The functions' source archive: its bucket, its object, and the object's SHA-256, of which the object's name holds the first 12 digits."
  type = object({
    bucket = string
    object = string
    sha256 = string
  })

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.archive.sha256))
    error_message = "archive.sha256 must be 64 hexadecimal digits."
  }

  validation {
    condition     = strcontains(var.archive.object, substr(var.archive.sha256, 0, 12))
    error_message = "The archive's object must hold the first 12 digits of its sha256 in its name: a new archive gets a new name, so that it is built and deployed."
  }
}

variable "build" {
  description = "What builds the function: the build's service account (by resource name), and the repository for its image."
  type = object({
    repository      = string
    service_account = string
  })
}

variable "configuration" {
  description = "The bucket that holds catalogue and plans, and a hash of their content; null for a function that reads neither."
  type = object({
    bucket = string
    sha256 = string
  })
  default = null
}

variable "deletion_protection" {
  description = "Whether the function refuses to be destroyed."
  type        = bool
  default     = true
  nullable    = false
}

variable "entry_point" {
  description = "Name of the function in the archive's main.py."
  type        = string
}

variable "environment" {
  description = "Environment variables of the function."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "exposure" {
  description = "internal: invokers within the project only. edge: anybody, through the load balancer. open: anybody, directly."
  type        = string
  default     = "internal"
  nullable    = false

  validation {
    condition     = contains(["internal", "edge", "open"], var.exposure)
    error_message = "exposure must be internal, edge or open."
  }
}

variable "invokers" {
  description = "IAM members that may call an internal function, by a name of your choice."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = !anytrue([for member in values(var.invokers) : contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "A function is not for allUsers: one that authenticates its callers itself has exposure edge or open."
  }
}

variable "labels" {
  description = "Labels of the function."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "Name of the function's service."
  type        = string

  validation {
    condition     = can(regex("^tallygate-[a-z0-9-]*[a-z0-9]$", var.name)) && !startswith(var.name, "tallygate-proxy") && length(var.name) <= 49
    error_message = "The name must begin with tallygate- and not with tallygate-proxy, whose lines are usage; at most 49 characters."
  }
}

variable "project_id" {
  description = "Project of the function."
  type        = string
}

variable "region" {
  description = "Region of the function."
  type        = string
}

variable "resources" {
  description = "What one instance has, how many requests it takes at once, and how many instances there may be."
  type = object({
    cpu           = optional(string, "1")
    memory        = optional(string, "512Mi")
    concurrency   = optional(number, 1)
    min_instances = optional(number, 0)
    max_instances = optional(number, 1)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.resources.concurrency >= 1 && var.resources.concurrency <= 1000
    error_message = "concurrency must be between 1 and 1000."
  }

  validation {
    condition     = var.resources.max_instances >= max(1, var.resources.min_instances)
    error_message = "max_instances must be at least 1 and not below min_instances."
  }
}

variable "service_account_email" {
  description = "The identity that the function runs as."
  type        = string
}

variable "timeout_seconds" {
  description = "How long one call may take."
  type        = number
  default     = 540
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 10 && var.timeout_seconds <= 1800
    error_message = "timeout_seconds must be between 10 and 1800: Cloud Scheduler waits no longer."
  }
}
