variable "backups" {
  description = "Days for which daily backups, and weeks for which weekly ones (of Sunday) are kept."
  type = object({
    daily_kept_days   = optional(number, 7)
    weekly_kept_weeks = optional(number, 8)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.backups.daily_kept_days >= 1 && var.backups.daily_kept_days <= 98 && var.backups.weekly_kept_weeks >= 1 && var.backups.weekly_kept_weeks <= 14
    error_message = "Firestore keeps a backup for at most 14 weeks (98 days), and no shorter than a day (daily) or a week (weekly)."
  }
}

variable "deletion_protection" {
  description = "Whether the database refuses to be destroyed."
  type        = bool
  default     = true
  nullable    = false
}

variable "expiring_collections" {
  description = "Collections whose documents Firestore deletes by itself some time after the timestamp in their field delete_at."
  type        = set(string)
  default     = ["inbox", "spend"]
  nullable    = false
}

variable "kms_key_name" {
  description = "Key that encrypts the database; null for Google's own. It can't be changed later."
  type        = string
  default     = null
}

variable "location" {
  description = "Where the database is: eur3, nam5, nam7, or a region; it can't be changed later."
  type        = string

  validation {
    condition     = contains(concat(local._places.multi_regions, local._places.regions), var.location)
    error_message = "Firestore is not in that place: write ${join(", ", local._places.multi_regions)}, or a region of places.json, for example europe-west1."
  }
}

variable "name" {
  description = "Id of the database."
  type        = string
  default     = "tallygate"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.name))
    error_message = "A database id has 4 to 63 small letters, digits and dashes, and begins with a letter."
  }
}

variable "project_id" {
  description = "Project of the database."
  type        = string
}
