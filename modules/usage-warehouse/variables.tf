variable "data_location" {
  description = "BigQuery location of both datasets, for example EU or us-central1; it cannot be changed later."
  type        = string

  validation {
    condition     = can(regex("^([A-Z]{2}|[a-z]+-[a-z]+[0-9]+)$", var.data_location))
    error_message = "data_location must be a multi-region in capitals (EU, US) or a region (europe-west1)."
  }
}

variable "datasets" {
  description = "Ids of the two datasets: what Cloud Logging writes, and what the functions write."
  type = object({
    raw    = optional(string, "usage_raw")
    ledger = optional(string, "ledger")
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for id in values(var.datasets) : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", id))])
    error_message = "A dataset id holds letters, digits and underscores only."
  }

  validation {
    condition     = var.datasets.raw != var.datasets.ledger
    error_message = "raw and ledger must be two datasets: the sink may write one, the functions the other."
  }
}

variable "deletion_protection" {
  description = "Whether tables refuse to be destroyed, and a dataset to be destroyed with its tables."
  type        = bool
  default     = true
  nullable    = false
}

variable "labels" {
  description = "Labels of both datasets."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "ledger_readers" {
  description = "IAM members that may read both datasets, by a name of your choice, for example finance."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "ledger_writers" {
  description = "IAM members that may write the ledger and read the raw usage, by function, for example usage_reporter."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "project_id" {
  description = "Project that holds the datasets and whose logs are routed."
  type        = string
}

variable "raw_retention_days" {
  description = "Days for which raw lines are kept; the reporter looks back 35 days."
  type        = number
  default     = 400
  nullable    = false

  validation {
    condition     = var.raw_retention_days >= 40
    error_message = "raw_retention_days must be at least 40: the daily run seals 35 days back, and repairs need some days more."
  }
}
