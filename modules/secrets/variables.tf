variable "deletion_protection" {
  description = "Whether the secrets refuse to be destroyed."
  type        = bool
  default     = true
  nullable    = false
}

variable "labels" {
  description = "Labels of the secrets."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "locations" {
  description = "Regions that keep the values; empty lets Google choose."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "names" {
  description = "Ids of the secrets."
  type        = set(string)

  validation {
    condition     = alltrue([for name in var.names : can(regex("^[a-z][a-z0-9-]{0,61}[a-z0-9]$", name))])
    error_message = "A secret's id holds small letters, digits and dashes, for example openai-api-key."
  }
}

variable "project_id" {
  description = "Project of the secrets."
  type        = string
}

variable "version_destroy_delay_days" {
  description = "Days for which a destroyed version can be brought back."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.version_destroy_delay_days >= 1 && var.version_destroy_delay_days <= 1000
    error_message = "version_destroy_delay_days must be between 1 and 1000."
  }
}
