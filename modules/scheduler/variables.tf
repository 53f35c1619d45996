variable "invoker_email" {
  description = "The identity by which jobs call functions."
  type        = string
}

variable "project_id" {
  description = "Project of the jobs."
  type        = string
}

variable "region" {
  description = "Region of the jobs."
  type        = string
}

variable "targets" {
  description = "URL of each function that a job calls, by the function's name in jobs.json."
  type        = map(string)

  validation {
    condition     = length(setsubtract([for job in values(local.jobs) : job.function], keys(var.targets))) == 0
    error_message = "jobs.json names functions that have no target: ${join(", ", setsubtract([for job in values(local.jobs) : job.function], keys(var.targets)))}."
  }
}

variable "time_zone" {
  description = "Time zone of the schedules: hours of the ledger are UTC."
  type        = string
  default     = "Etc/UTC"
  nullable    = false
}

variable "timeout_seconds" {
  description = "How long a job waits for its function."
  type        = number
  default     = 540
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 15 && var.timeout_seconds <= 1800
    error_message = "timeout_seconds must be between 15 and 1800: Cloud Scheduler takes nothing else."
  }
}
