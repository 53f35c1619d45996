variable "blocked_ranges" {
  description = "Addresses, in CIDR form, that are refused before anything else; at most 10."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.blocked_ranges) <= 10
    error_message = "A rule of Cloud Armor takes 10 ranges: merge neighbours into wider ranges."
  }

  validation {
    condition     = alltrue([for range in var.blocked_ranges : can(cidrhost(range, 0))])
    error_message = "blocked_ranges must be in CIDR form, for example 198.51.100.0/24."
  }
}

variable "labels" {
  description = "Labels of the policy."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "name" {
  description = "Name of the policy."
  type        = string
}

variable "project_id" {
  description = "Project of the policy."
  type        = string
}

variable "rate_limit" {
  description = "Requests that one client address may make in a minute, and how long it is banned when it goes on past ten minutes' worth."
  type = object({
    requests_per_minute = number
    ban_seconds         = optional(number, 300)
  })

  validation {
    condition     = var.rate_limit.requests_per_minute >= 60 && var.rate_limit.requests_per_minute <= 1000000
    error_message = "requests_per_minute must be between 60 and 1000000: below, a page that opens a few streams is refused."
  }

  validation {
    condition     = contains([60, 120, 180, 240, 300, 600, 900, 1200, 1800, 2700, 3600], var.rate_limit.ban_seconds)
    error_message = "ban_seconds must be 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 2700 or 3600."
  }
}
