variable "labels" {
  description = "Labels of the key."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "location" {
  description = "Where the key is: europe or us for the multi-regions EU and US, else the data's region."
  type        = string
}

variable "project_id" {
  description = "Project of the key."
  type        = string
}

variable "rotation_days" {
  description = "Days after which the key gets a new version; old versions keep what they encrypted readable."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.rotation_days >= 1 && var.rotation_days <= 3650
    error_message = "rotation_days must be between 1 and 3650."
  }
}

variable "users" {
  description = "IAM members, Google's own service agents, that encrypt and decrypt with the key, by service."
  type        = map(string)
}
