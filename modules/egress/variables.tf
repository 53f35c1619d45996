variable "labels" {
  description = "Labels of the addresses."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "project_id" {
  description = "Project of the network."
  type        = string
}

variable "subnetworks" {
  description = "The address range, in CIDR form, of each region's subnetwork; a /26 holds what a scaled-out proxy needs."
  type        = map(string)

  validation {
    condition     = alltrue([for range in values(var.subnetworks) : can(cidrhost(range, 0)) && try(tonumber(split("/", range)[1]) <= 26, false)])
    error_message = "Each region needs a range of at least 64 addresses (/26 or wider), for example 10.8.0.0/26: Cloud Run takes two addresses an instance."
  }

  validation {
    condition     = length(distinct(values(var.subnetworks))) == length(var.subnetworks)
    error_message = "Each region needs a range of its own."
  }
}
