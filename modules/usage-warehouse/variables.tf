variable "archive" {
  description = "Bucket for all usage lines as evidence, the days for which nobody can delete them (0: anybody with the right can), and whether that is locked for good."
  type = object({
    bucket         = string
    retention_days = optional(number, 2557) # seven years
    locked         = optional(bool, false)
  })

  validation {
    condition     = var.archive.retention_days >= (var.archive.locked ? 1 : 0)
    error_message = "archive.retention_days must be at least 1, or 0 (no protection) without a lock."
  }
}

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

variable "kms_key_name" {
  description = "Key that encrypts datasets, archive and logs; null for Google's own. It can't be changed later."
  type        = string
  default     = null
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

variable "log_bucket" {
  description = "Where the gateway's logs are kept for looking at, and for how many days."
  type = object({
    location       = string
    retention_days = optional(number, 30)
  })

  validation {
    condition     = var.log_bucket.retention_days >= 7 && var.log_bucket.retention_days <= 3650
    error_message = "log_bucket.retention_days must be between 7 (a playbook looks a week back) and 3650."
  }
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

variable "segment_writers" {
  description = "IAM members that append billing segments and, at a period's end, seal and send; they read the rest of the ledger. By function, for example stripe_sync."
  type        = map(string)
  default     = {}
  nullable    = false
}
